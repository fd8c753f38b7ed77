"""Pictures of phones, cameras and drawing programs; and names of pictures as published datasets have them."""

import functools
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facap.crawl.decode import DecodeError, Limits, normalise
from facap.triplets.formats import fashion_iq
from facap.triplets.formats.entries import Part
from facap.triplets.formats.pictures import find
from tests.colour_profiles import ADOBE, LINEAR, P3, SRGB, SRGB_CURVE, in_srgb, profile
from tests.outside.case import GIVEN, Case

RED = (234, 51, 35)
WIDE = (254, 0, 0)  # RED of Display P3 as sRGB has it
LEFT_OUT = (b"Exif\0", b"http://ns.adobe.com", b"ICC_PROFILE", b"MotionPhoto", b"ftypmp42", b"SEFH", b"MPF\0")
MADE_BY = "motion_photo"  # whose make.py writes many oddities


def stored(data: bytes, colour: tuple[int, ...] = RED) -> tuple[str, int, int, str]:
    """(status, width, height, what is wrong with what is stored) of a picture with `colour` in its middle."""
    try:
        picture = normalise(data, Limits())
    except DecodeError as error:
        return error.status, 0, 0, ""
    image = Image.open(io.BytesIO(picture.bytes))
    middle = np.asarray(image.convert("RGB"))[image.height * 2 // 3, image.width // 2].tolist()
    wrong = [] if max(abs(a - b) for a, b in zip(middle, colour, strict=True)) <= 3 else [f"{middle}"]
    wrong += [f"holds {words!r}" for words in LEFT_OUT if words in picture.bytes]
    if len(picture.bytes) > 30_000:
        wrong.append(f"{len(picture.bytes)} bytes")
    return "ok", image.width, image.height, ", ".join(wrong)


UPRIGHT = ("ok", 240, 320, "")
MADE: dict[str, tuple[tuple[str, int, int, str], tuple[int, ...]]] = {
    "photo.heic": (("not_an_image", 0, 0, ""), RED),
    "vector.jpg": (("not_an_image", 0, 0, ""), RED),
    "half.jpg": (("truncated", 0, 0, ""), RED),
    **dict.fromkeys(("grey16.png", "la.png"), (UPRIGHT, (104, 104, 104))),
    **dict.fromkeys(
        (
            "p3_apple.jpg", "p3_skia.jpg", "p3_samsung.jpg", "p3_ohos.jpg",
            "p3_apple.png", "p3_skia.png", "p3_samsung.png", "p3_ohos.png",
        ),
        (UPRIGHT, WIDE),
    ),
    **dict.fromkeys(
        (
            "plain.jpg", "motion_photo.jpg", "motion_photo_noexif.jpg", "exif6.jpg", "two.mpo.jpg",
            "no_eoi.jpg", "no_eoi_exif.jpg", "no_eoi_progressive.jpg", "no_eoi_trailer.jpg", "eoi_padded.jpg",
            "prog_restart.jpg", "cmyk_adobe.jpg", "cmyk_no_marker.jpg", "rgb_adobe0.jpg", "rgb16.png",
            "alpha.avif", "anim.webp", "xmp6.webp", "xmp6.png", "xmp6_exif_without.jpg", "xmp6_noexif.jpg",
        ),
        (UPRIGHT, RED),
    ),
}  # fmt: skip


@functools.cache
def _made() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory()
    command = [sys.executable, str(GIVEN / MADE_BY / "make.py"), folder.name]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def _all_made(_: Path) -> set[str]:
    return {path.name for path in Path(_made().name).iterdir()}


def _made_file(name: str, colour: tuple[int, ...]) -> Callable[[Path], Any]:
    return lambda folder: stored((Path(_made().name) / name).read_bytes(), colour)


def _given(folder: str, name: str, colour: tuple[int, ...] = RED) -> Callable[[Path], Any]:
    return lambda _: stored((GIVEN / folder / name).read_bytes(), colour)


def drawn(kind: str, colour: tuple[int, ...] = RED, **options: Any) -> bytes:
    """A flat picture of 240 x 320."""
    out = io.BytesIO()
    exact: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 95},
    }
    Image.new("RGB", (240, 320), colour).save(out, kind, **exact.get(kind, {}), **options)
    return out.getvalue()


def _profiled(
    kind: str, made: bytes, expected: tuple[int, ...], value: tuple[int, ...] = RED
) -> Callable[[Path], Any]:
    return lambda _: stored(drawn(kind, value, icc_profile=made), expected)


def _ending(options: dict[str, Any], end: bytes) -> Callable[[Path], Any]:
    """A JPEG with `end` in the place of its EOI."""
    return lambda _: stored(drawn("JPEG", **options)[:-2] + end)


def _ranked(names: list[Any]) -> Callable[[Path], Any]:
    """What a submission of rankings with these names is told."""

    def seen(folder: Path) -> bool:
        from facap.errors import FormatError
        from facap.evaluate.protocol import Query
        from facap.evaluate.submission import Lists, read_rankings

        ids = {("dress", name): f"dress/{name}" for name in ("B000", "B001")}
        (folder / "rankings.dress.json").write_text(json.dumps([{"candidate": "B000", "ranking": names}]))
        try:
            read_rankings(
                folder, [Query("dress/B000", "dress/B001", "dress", "x", 0)], Lists(ids, set(ids)), 10**6
            )
        except FormatError as error:
            return "in no list of the dataset" in str(error) and "\n" not in str(error)
        return False

    return seen


def _imported(file: str) -> Callable[[Path], Any]:
    def seen(folder: Path) -> str | None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(drawn("JPEG"))
        return find(folder, [Part("dress", "val", gallery=["B000"])], fashion_iq.picture_names)[0].path

    return seen


CASES = [
    *(
        Case(
            "a picture's colours",
            f"Display P3, {name}",
            UPRIGHT,
            _given("p3_named_srgb", name, WIDE),
            "p3_named_srgb",
        )
        for name in ("p3_apple.jpg", "p3_skia.jpg")
    ),
    *(
        Case("a JPEG's end", name, expected, _given("no_eoi", name), "no_eoi")
        for name, expected in (
            ("no_eoi.jpg", UPRIGHT),
            ("no_eoi_trailer.jpg", UPRIGHT),
            ("half.jpg", ("truncated", 0, 0, "")),
        )
    ),
    *(
        Case("orientation in XMP alone", name, UPRIGHT, _given("xmp_orientation", name), "xmp_orientation")
        for name in ("xmp6.png", "xmp6_exif_without.jpg", "xmp6_noexif.jpg")
    ),
    Case("pictures of phones", "all that make.py writes has a case", set(MADE), _all_made, MADE_BY),
    *(
        Case("pictures of phones", name, expected, _made_file(name, colour), MADE_BY)
        for name, (expected, colour) in MADE.items()
    ),
    *(
        Case("a picture's colours", f"{kind}, {text}", UPRIGHT, _profiled(kind, made, wanted, value))
        for kind in ("JPEG", "PNG", "WEBP", "AVIF")
        for text, made, value, wanted in (
            (
                "P3 of version 2 that is called sRGB",
                profile(P3, SRGB_CURVE, "sRGB IEC61966-2.1", 2),
                RED,
                WIDE,
            ),
            ("P3 in Chinese", profile(P3, SRGB_CURVE, "显示 sRGB"), RED, WIDE),
            ("linear sRGB", profile(SRGB, LINEAR, "sRGB"), (55,) * 3, (128,) * 3),
            ("sRGB that is called P3", profile(SRGB, SRGB_CURVE, "Display P3"), RED, RED),
            (
                "Adobe RGB",
                profile(ADOBE, (2.19921875,), "sRGB"),
                (120, 90, 60),
                in_srgb((120, 90, 60), ADOBE, (2.19921875,)),
            ),
            ("no profile but words", b"sRGB", RED, RED),
        )
    ),
    *(
        Case(
            "a JPEG's end",
            f"{how}, {tail}",
            UPRIGHT,
            _ending(options, more),
        )
        for how, options in (
            ("baseline", {}),
            ("progressive", {"progressive": True}),
            ("restarts", {"restart_marker_rows": 1}),
        )
        for tail, more in (
            ("none", b""),
            ("half a marker", b"\xff"),
            ("two", b"\xff\xd9\xff\xd9"),
            ("zeros for it", bytes(5000)),
            ("a second picture for it", drawn("JPEG", (0, 0, 255))),
            ("a video", b"\xff\xd9\0\0\0\x18ftypmp42" * 9999),
        )
    ),
    *(
        Case("pictures of a dataset", file, file, _imported(file))
        for file in ("B000.JPG", "dress/B000.JPEG", "B000.Png", "dress/B000.WEBP", "B000.jpg")
    ),
    *(
        Case("names of a submission", text, True, _ranked(names))
        for text, names in (
            ("with endings", ["B000.jpg", "B001.jpg"]),
            ("one of them", ["B001", "B0O0"]),
            ("numbers", [1, 2]),
            ("paths", ["dress/B001"]),
        )
    ),
]
