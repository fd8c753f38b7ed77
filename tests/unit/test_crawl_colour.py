"""Profiles count by what they do to colours, whatever they are called; orientation is what EXIF says."""

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from facap.crawl import colour
from facap.crawl.decode import DecodeError, Limits, normalise
from facap.crawl.orientation import ORIENTATION, orientation_in
from tests.colour_profiles import ADOBE, LINEAR, P3, SRGB, SRGB_CURVE, in_srgb, profile

names = st.sampled_from(["sRGB", "sRGB IEC61966-2.1", "Display P3 Gamut with sRGB Transfer"]) | st.text(
    max_size=40
)
RED = (234, 51, 35)


def flat(value: tuple[int, ...] | int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (32, 48), value)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    exact: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100},
    }
    image.save(out, kind, **exact.get(kind, {}), **options)
    return out.getvalue()


def seen(data: bytes) -> tuple[int, ...]:
    """The last pixel of what is stored."""
    image = Image.open(io.BytesIO(normalise(data, Limits(jpeg_quality=100)).bytes))
    assert "icc_profile" not in image.info
    colour_seen: tuple[int, ...] = tuple(image.convert("RGB").tobytes()[-3:])
    return colour_seen


def near(one: tuple[int, ...], other: tuple[int, ...], most: int = 3) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= most


@settings(deadline=None, max_examples=60)
@given(
    names,
    st.sampled_from([SRGB, P3, ADOBE]),
    st.sampled_from([SRGB_CURVE, LINEAR, (1.8,), (2.19921875,)]),
    st.sampled_from([(2, 0), (2, 256), (4, 0), (4, 4096)]),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.sampled_from(["PNG", "JPEG", "WEBP"]),
)
def test_a_profile_counts_by_its_colorants_and_curve(
    text: str, colorants: tuple, curve: tuple, how: tuple[int, int], value: tuple, kind: str
) -> None:
    made = profile(colorants, curve, text, *how)
    steep = min(value) < 24 and curve != SRGB_CURVE  # a step of 8 bits is several of sRGB's there
    expected = in_srgb(value, colorants, curve)
    assert near(seen(encoded(flat(value), kind, icc_profile=made)), expected, 14 if steep else 4)


@settings(deadline=None, max_examples=40)
@given(names, st.sampled_from([(2, 0), (2, 1024), (4, 0), (4, 4096)]))
def test_a_picture_in_srgb_is_not_encoded_again_whatever_its_profile_is_called(text: str, how: tuple) -> None:
    data = encoded(flat(RED), "JPEG")
    with_profile = encoded(flat(RED), "JPEG", icc_profile=profile(SRGB, SRGB_CURVE, text, *how))
    assert normalise(with_profile, Limits()).bytes == normalise(data, Limits()).bytes == data


def test_what_people_reported() -> None:
    assert near(in_srgb(RED, P3, SRGB_CURVE), (254, 0, 0))
    assert near(seen(encoded(flat(RED), icc_profile=profile(P3, SRGB_CURVE, "sRGB"))), (254, 0, 0))
    linear = profile(SRGB, LINEAR, "linear sRGB")
    for kind in ("PNG", "JPEG"):
        assert near(seen(encoded(flat((55, 55, 55)), kind, icc_profile=linear)), (128, 128, 128))


@pytest.mark.parametrize(
    ("kind", "mode", "colorants", "wanted"),
    [
        ("PNG", "L", None, 128), ("JPEG", "L", None, 128), ("PNG", "L", SRGB, 128), ("JPEG", "L", SRGB, 128),
        ("PNG", "LA", None, 128), ("PNG", "P", SRGB, 128),
        ("PNG", "P", None, 55), ("JPEG", "RGB", None, 55),  # a profile of greys says nothing on colours
    ],
)  # fmt: skip
def test_greys_follow_profiles_of_grey_and_of_rgb(
    kind: str, mode: str, colorants: tuple | None, wanted: int
) -> None:
    data = encoded(flat(55, "L").convert(mode), kind, icc_profile=profile(colorants, LINEAR, "x", 2))
    assert near(seen(data), (wanted,) * 3)


def test_transparency_is_laid_on_white_after_the_colours_are_converted() -> None:
    half = flat((55, 55, 55, 128), "RGBA")
    assert near(seen(encoded(half, icc_profile=profile(SRGB, LINEAR, "x"))), (191, 191, 191))


def test_profiles_of_another_space_broken_or_huge_ones_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    good = profile(P3, SRGB_CURVE, "x")
    for made in (profile(None, LINEAR, "grey"), good[:200], b"", good[:-40] + b"\xff" * 40, b"\0" * 5000):
        assert near(seen(encoded(flat(RED), icc_profile=made)), RED), len(made)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert near(seen(encoded(flat(RED), icc_profile=lab)), RED)
    monkeypatch.setattr(colour, "MAX_PROFILE", len(good) - 1)
    assert near(seen(encoded(flat(RED), icc_profile=good)), RED)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_profiles_never_cost_the_picture(data: st.DataObject) -> None:
    made = bytearray(
        profile(data.draw(st.sampled_from([P3, None])), SRGB_CURVE, "x", data.draw(st.sampled_from([2, 4])))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(["JPEG", "PNG"]))
    assert normalise(encoded(flat(RED), kind, icc_profile=bytes(made)), Limits()).width == 32


def test_a_known_profile_is_looked_at_once() -> None:
    colour._conversion.cache_clear()
    for value in range(5):
        normalise(encoded(flat((value, 80, 90)), "JPEG", icc_profile=profile(P3, SRGB_CURVE, "x")), Limits())
    assert colour._conversion.cache_info().misses == 1


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


GAMMA_1, GAMMA_SRGB = (chunk(b"gAMA", struct.pack(">I", value)) for value in (100_000, 45_455))
CHROMA_SRGB, CHROMA_P3 = (
    chunk(b"cHRM", struct.pack(">8I", 31270, 32900, *rest))
    for rest in ((64000, 33000, 30000, 60000, 15000, 6000), (68000, 32000, 26500, 69000, 15000, 6000))
)
CICP_P3 = chunk(b"cICP", bytes([12, 13, 0, 1]))
IS_SRGB = chunk(b"sRGB", b"\0")
GREY, WIDE = (55, 55, 55), (254, 0, 0)


@pytest.mark.parametrize(
    ("value", "chunks", "expected"),
    [
        (GREY, [GAMMA_1], (128, 128, 128)),
        (GREY, [GAMMA_1, CHROMA_SRGB], (128, 128, 128)),
        (GREY, [GAMMA_1, IS_SRGB], GREY),
        (GREY, [GAMMA_SRGB, CHROMA_SRGB], GREY),
        (GREY, [chunk(b"gAMA", struct.pack(">I", 55_556))], (71, 71, 71)),
        (RED, [GAMMA_SRGB, CHROMA_P3], WIDE),
        (RED, [CHROMA_P3], RED),  # without gAMA it does not count
        (RED, [CICP_P3], WIDE),
        (RED, [CICP_P3, IS_SRGB], WIDE),
        (RED, [chunk(b"cICP", bytes([9, 16, 0, 1]))], RED),  # high dynamic range is left alone
        (RED, [chunk(b"cICP", b"\xff")], RED),
        (RED, [GAMMA_SRGB, chunk(b"cHRM", bytes(32))], RED),
        (RED, [chunk(b"gAMA", bytes(4))], RED),
    ],
)
def test_what_a_png_declares_is_followed_as_chromium_does(
    value: tuple, chunks: list, expected: tuple
) -> None:
    assert near(seen(with_chunks(encoded(flat(value)), *chunks)), expected)


def test_an_avif_declares_its_primaries_by_number() -> None:
    data = encoded(flat(RED), "AVIF", subsampling="4:4:4")
    assert near(seen(data), RED, 4)
    at = data.index(b"colrnclx") + 8
    assert near(seen(data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]), WIDE, 4)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


@pytest.mark.parametrize("xmp", [None, 3, 6, 8])
@pytest.mark.parametrize("orientation", [None, 1, 5, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_orientation_is_what_chromium_makes_of_it(
    kind: str, orientation: int | None, xmp: int | None
) -> None:
    """Measured with Chromium 156: WebP's EXIF is not followed, XMP nowhere."""
    options: dict = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif.tobytes()
    if xmp is not None and kind != "PNG":
        options["xmp"] = XMP % xmp
    data = encoded(flat(RED), kind, **options)
    if xmp is not None and kind == "PNG":
        data = with_chunks(data, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % xmp))
    turned = kind != "WEBP" and orientation in (5, 6, 8)
    picture = normalise(data, Limits())
    assert (picture.width, picture.height) == ((48, 32) if turned else (32, 48))
    assert b"adobe" not in picture.bytes and b"Exif" not in picture.bytes


def test_exif_behind_the_pixels_of_a_png_does_not_count() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(flat(RED))
    end = data.index(b"IEND") - 4
    assert normalise(data[:end] + chunk(b"eXIf", exif.tobytes()[6:]) + data[end:], Limits()).width == 32


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@given(st.binary(max_size=200))
def test_no_exif_upsets_the_orientation(raw: bytes) -> None:
    for data in (raw, b"Exif\0\0" + raw, b"Exif\0\0MM\0*\0\0\0\x08" + raw):
        assert isinstance(orientation_in(data), int)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(["PNG", "GIF", "WEBP", "AVIF"]))
def test_a_trailer_of_other_formats_changes_nothing(trailer: bytes, kind: str) -> None:
    data = encoded(flat(RED), kind)
    try:
        assert normalise(data + trailer, Limits()).bytes == normalise(data, Limits()).bytes
    except DecodeError as error:
        raise AssertionError(f"{kind} {trailer!r}: {error}") from error
