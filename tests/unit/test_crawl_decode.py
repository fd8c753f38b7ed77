"""Pictures of every kind come out upright, in sRGB and within limits; hostile bytes come out as reasons."""

import asyncio
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFilter

from benchmarks.mutated_images import decode_mutated, mutated, sound_pictures
from facap.crawl import decode
from facap.crawl.config import CrawlConfig
from facap.crawl.decode import DecodeError, Limits, Picture, limits_of, normalise
from facap.crawl.decoders import AT_A_TIME, Decoders
from facap.crawl.jpeg import plain_size
from facap.crawl.phash import phash, unpack
from facap.crawl.shrink import fitting, prescale, shrink

LIMITS = Limits(max_pixels=1_000_000, longest_side=128)


def picture(width: int = 96, height: int = 120, seed: int = 0) -> Image.Image:
    """Smooth colours, red in the upper left corner."""
    blobs = np.random.default_rng(seed).integers(0, 255, (5, 4, 3), dtype=np.uint8)
    image = Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((255, 0, 0), (0, 0, width // 3, height // 3))
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG" and image.mode == "RGB"
    return image


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(DecodeError) as raised:
        normalise(data, limits)
    assert str(raised.value)
    return raised.value.status


def test_a_fine_jpeg_keeps_its_bytes() -> None:
    data = encoded(picture(), quality=60)
    result = normalise(data, LIMITS)
    assert result.bytes == data and (result.width, result.height, result.format) == (96, 120, "jpeg")
    assert len(result.image_id) == 32 and result == normalise(data, LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF"])
def test_other_kinds_become_jpeg(kind: str) -> None:
    result = normalise(encoded(picture(), kind), LIMITS)
    assert result.format == kind.lower()
    difference = np.abs(np.asarray(opened(result.bytes), float) - np.asarray(picture(), float))
    assert difference.mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int) -> None:
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = picture().transpose(stored[orientation]) if orientation > 1 else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = normalise(encoded(image, exif=exif, quality=95), LIMITS)
    assert (result.width, result.height) == (96, 120)
    assert np.abs(np.asarray(opened(result.bytes), float) - np.asarray(picture(), float)).mean() < 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter() -> None:
    data = encoded(picture(), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\xff" * 30)
    assert normalise(data, LIMITS).width == 96


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGBA", "LA", "P", "1", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray((np.asarray(picture().convert("L")).astype(np.uint16)) * 257)
    else:
        image = picture().convert(mode)
    result = normalise(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), LIMITS)
    wanted = (picture().convert("L") if mode == "I;16" else image).convert("RGB")
    # Compared in squares of 8 px: palettes and 1-bit pictures are dithered, which JPEG smooths.
    difference = np.asarray(opened(result.bytes).reduce(8), float) - np.asarray(wanted.reduce(8), float)
    assert np.abs(difference).mean() < 3


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    assert opened(normalise(encoded(image, "PNG"), LIMITS).bytes).getpixel((25, 25)) == (255, 255, 255)
    paletted = Image.new("P", (50, 50), 3)
    data = encoded(paletted, "GIF", transparency=3)
    assert opened(normalise(data, LIMITS).bytes).getpixel((25, 25)) == (255, 255, 255)


def test_a_profile_that_is_srgb_or_broken_is_dropped_and_the_pixels_keep_their_bytes() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"nonsense"):
        assert normalise(encoded(picture(), icc_profile=profile), LIMITS).bytes == encoded(picture())


def test_a_foreign_profile_is_converted() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # unusable for RGB: ignored
    assert normalise(encoded(picture(), icc_profile=lab), LIMITS).width == 96


@pytest.mark.parametrize(
    ("size", "result"), [((500, 250), (128, 64)), ((250, 1000), (32, 128)), ((160, 16), (128, 13))]
)
def test_large_pictures_are_shrunk(size: tuple[int, int], result: tuple[int, int]) -> None:
    for kind in ("JPEG", "PNG"):
        shrunk = normalise(encoded(picture(*size), kind), LIMITS)
        assert (shrunk.width, shrunk.height) == opened(shrunk.bytes).size == result


@pytest.mark.parametrize("ratio", [1.05, 1.3, 1.6, 2.08, 2.4, 3.1, 6.0, 17.0])
def test_shrinking_is_as_good_as_averaging(ratio: float) -> None:
    """Against Lanczos of the sharp picture; JPEGs go the way of the crawl, through the decoder's halving."""
    detail = Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 220), dtype=np.uint8))
    image = detail.filter(ImageFilter.GaussianBlur(1.2)).resize((880, 1200)).convert("RGB")
    longest = round(1200 / ratio)
    size = fitting(880, 1200, longest)
    wanted = np.asarray(image.resize(size, Image.Resampling.LANCZOS), float)
    averaged = cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA)
    data = encoded(image, quality=98, subsampling=0)
    result = normalise(data, Limits(longest_side=longest, jpeg_quality=98))
    assert (result.width, result.height) == size
    for made in (shrink(np.asarray(image), size), np.asarray(opened(result.bytes))):
        assert _rms(made, wanted) < 1.25 * _rms(averaged, wanted) + 1


def _rms(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.square(one.astype(float) - other).mean()))


def test_a_decoder_halves_only_what_is_shrunk_further() -> None:
    assert [prescale(ratio) for ratio in (0.5, 1, 2.4, 2.5, 4.9, 5, 9.9, 10, 99)] == [
        1,
        1,
        1,
        2,
        2,
        4,
        4,
        8,
        8,
    ]


def test_decoders_give_each_body_its_own_outcome() -> None:
    bodies = [encoded(picture(40 + n, 50)) for n in range(2 * AT_A_TIME + 3)]
    bodies[5], bodies[-1] = b"nothing", bodies[-1][:-40]

    async def decode_all(num_threads: int) -> list[Picture | BaseException]:
        decoders = Decoders(LIMITS, num_threads)
        gone = decoders.decode(bodies[0])
        gone.cancel()
        made = await asyncio.gather(*map(decoders.decode, bodies), return_exceptions=True)
        assert await decoders.decode(bodies[1]) == made[1]  # they go on after a rest
        decoders.close()
        return made

    for num_threads in (1, 3):
        made = asyncio.run(decode_all(num_threads))
        widths = [one.width if isinstance(one, Picture) else getattr(one, "status", one) for one in made]
        assert widths == [*range(40, 45), "not_an_image", *range(46, 74), "truncated"]


def test_phash_tells_pictures_apart_and_survives_encoding_and_cropping() -> None:
    def bits(one: np.ndarray, other: np.ndarray) -> int:
        return int(np.bitwise_count(one ^ other).sum())

    image = picture(400, 500)
    hashes = [phash(cv2.cvtColor(np.asarray(picture(400, 500, seed)), cv2.COLOR_RGB2GRAY)) for seed in (0, 1)]
    again = normalise(encoded(image, quality=40), LIMITS).phash
    cropped = normalise(encoded(image.crop((10, 12, 390, 488))), Limits()).phash
    whole, inner = unpack([*hashes, again, cropped])
    assert [len(h) for h in hashes] == [128, 128] and whole.shape == inner.shape == (4, 32)
    assert bits(whole[0], whole[2]) < 20 and bits(inner[0], inner[2]) < 20
    assert bits(inner[0], whole[3]) < min(20, bits(whole[0], whole[3]))
    assert bits(whole[0], whole[1]) > 60


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"<html>not here", b"\x00" * 100, b"BM" + b"\x00" * 60])
def test_no_image(data: bytes) -> None:
    assert reason(data) == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated(kind: str, share: float) -> None:
    data = encoded(picture(), kind)
    assert reason(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "GIF"])
def test_truncated_of_other_kinds_is_never_a_picture(kind: str) -> None:
    data = encoded(picture(), kind)
    assert reason(data[: len(data) // 2]) in ("truncated", "corrupt", "not_an_image")


def _png(width: int, height: int, extra: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + extra
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    assert reason(_png(width, height)) == "too_many_pixels"


def test_a_text_bomb_is_refused() -> None:
    body = b"k\0\0" + zlib.compress(b"\0" * 70_000_000)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    assert reason(_png(10, 10, chunk)) in ("corrupt", "truncated")


@pytest.mark.parametrize(
    ("size", "status"), [((15, 200), "too_small"), ((1, 1), "too_small"), ((161, 16), "too_elongated")]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_sides_and_aspect_have_limits(size: tuple[int, int], status: str, kind: str) -> None:
    assert reason(encoded(picture(*size), kind)) == status


def test_the_limits_are_those_of_the_settings() -> None:
    assert limits_of(CrawlConfig()) == Limits()
    assert limits_of(CrawlConfig(min_side=99, max_aspect=2)).min_side == 99


def test_a_webp_canvas_is_refused_before_it_is_reserved() -> None:
    data = bytearray(encoded(picture(), "WEBP", save_all=True, append_images=[picture(seed=1)]))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xfe\x3f\0\xfe\x3f\0"  # 16383 x 16383
    assert reason(bytes(data)) == "too_many_pixels"


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = encoded(picture(), progressive=True)
    last = data.rindex(b"\xff\xda")
    before = data.rindex(b"\xff\xda", 0, last)
    assert reason(data[:before] + data[before:last] * 40 + data[last:]) == "corrupt"
    assert normalise(data, LIMITS).format == "jpeg"
    complete = normalise(data[:-2] + data[last:-2] * 40 + data[-2:], LIMITS)
    assert complete == normalise(data, LIMITS)  # what comes when all is there is neither read nor stored


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 100, "subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1},
     {"optimize": True}, {"comment": b"\xff\xc0"}, {"dpi": (72, 72)}, {"keep_rgb": True}],
)  # fmt: skip
@pytest.mark.parametrize("size", [(96, 120), (401, 533)])
def test_a_plain_jpeg_is_read_as_pillow_would(
    options: dict, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(picture(*size), **options)
    assert plain_size(data) == size
    quick = normalise(data, LIMITS)
    monkeypatch.setattr(decode, "plain_size", lambda data: None)
    assert normalise(data, LIMITS) == quick


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"progressive": True}), ("RGB", {"exif": Image.Exif()}), ("RGB", {"icc_profile": b"nonsense"}),
     ("L", {}), ("CMYK", {})],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_pillow(mode: str, options: dict) -> None:
    if "exif" in options:
        options["exif"][0x0112] = 6
    assert plain_size(encoded(picture().convert(mode), **options)) is None


@given(st.integers(0, 10**9))
@settings(deadline=None, max_examples=300)
def test_no_bytes_upset_the_walk_and_damaged_jpegs_fare_as_with_pillow(number: int) -> None:
    data = mutated(number, [encoded(picture())])
    outcomes = []
    for read in (plain_size, lambda data: None):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(decode, "plain_size", read)
            try:
                outcomes.append(normalise(data, LIMITS))
            except DecodeError:
                outcomes.append(None)
    assert outcomes[0] == outcomes[1]


def test_damage_within_a_jpeg_is_seen_and_a_stray_byte_is_not() -> None:
    data = bytearray(encoded(picture(400, 500), quality=95))
    stray = bytes(data[:-2]) + b"\0\0\0" + bytes(data[-2:])
    assert normalise(stray, LIMITS).width == 102
    start = data.rindex(b"\xff\xda") + 400
    del data[start : start + 900]
    assert reason(bytes(data)) in ("corrupt", "truncated")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    data = encoded(picture(), kind, save_all=True, append_images=[picture(seed=s) for s in (1, 2)])
    difference = np.asarray(opened(normalise(data, LIMITS).bytes), float) - np.asarray(picture(), float)
    assert np.abs(difference).mean() < 12


def test_colours_of_a_wide_profile_are_brought_to_srgb() -> None:
    """A profile whose red and blue are exchanged: a decoder that ignores it shows red as blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    profile = profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    red = Image.new("RGB", (64, 64), (250, 0, 0))
    for kind, image in (("JPEG", red), ("PNG", red), ("PNG", red.convert("RGBA")), ("WEBP", red)):
        result = opened(normalise(encoded(image, kind, icc_profile=bytes(profile)), LIMITS).bytes)
        r, _, b = result.getpixel((32, 32))
        assert b > 200 and r < 60, (kind, r, b)


def test_mutations_are_repeatable_and_change_something() -> None:
    sound = sound_pictures()
    assert mutated(7, sound) == mutated(7, sound)
    assert sum(mutated(n, sound) == sound[n % len(sound)] for n in range(200)) < 10


def test_mutated_pictures_of_every_format_neither_crash_nor_hang_under_a_memory_cap() -> None:
    figures = decode_mutated(400, first=100_000)
    assert figures["mutated_images"] == 400 and figures["decoder_crashes"] == 0, figures
    assert figures["statuses"]["ok"] > 20 and figures["statuses"]["truncated"] > 50


def _fine_or_reason(data: bytes) -> None:
    try:
        result = normalise(data, LIMITS)
    except DecodeError as error:
        assert error.status in (
            "not_an_image", "truncated", "corrupt", "too_many_pixels", "too_small", "too_elongated"
        )  # fmt: skip
    else:
        assert opened(result.bytes).size == (result.width, result.height)
        assert max(result.width, result.height) <= LIMITS.longest_side


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF"]),
)
@settings(max_examples=150, deadline=None)
def test_random_bytes_never_crash(tail: bytes, head: bytes) -> None:
    _fine_or_reason(head + tail)


_SEEDS = [encoded(picture(40, 50), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "AVIF")]
_SEEDS.append(
    encoded(picture(40, 50), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03" + b"\0" * 20)
)


@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
    st.floats(0, 1),
)
@settings(max_examples=400, deadline=None)
def test_mutated_pictures_never_crash(data: bytes, edits: list[tuple[float, bytes]], kept: float) -> None:
    body = bytearray(data)
    for place, new in edits:
        start = int(place * len(body))
        body[start : start + len(new)] = new
    _fine_or_reason(bytes(body[: int(len(body) * max(kept, 0.5))]))
