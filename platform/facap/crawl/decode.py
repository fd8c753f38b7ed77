"""Bytes from anywhere -> one normalised picture: upright sRGB JPEG within limits.

    >>> picture = normalise(body, Limits())                     # doctest: +SKIP
    >>> picture.width, picture.height, picture.phash            # doctest: +SKIP
    (256, 320, 'b9c3262dd90fd272')

The kind of picture is decided by its content, never by its name or header. What is already an
upright sRGB JPEG within the limits keeps its bytes after a full decode, so that nothing is lost.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "AVIF": "avif"}
OPENED = [name for name in FORMATS if name != "MPO"]  # Pillow finds it when it opens a JPEG
ORIENTATION = 0x0112  # EXIF tag
IMAGE_ID_LENGTH = 32  # hex digits

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeError(Exception):
    """A picture that cannot be used; `status` is the reason in snake_case."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What a normalised picture may be."""

    max_pixels: int = 50_000_000
    longest_side: int = 512  # px
    jpeg_quality: int = 92


@dataclass(frozen=True)
class Picture:
    """A normalised picture; `bytes` is JPEG, `format` the kind it came as."""

    bytes: bytes
    image_id: str
    format: str
    width: int
    height: int
    phash: str


def normalise(data: bytes, limits: Limits) -> Picture:
    """`data` as a normalised picture; raises DecodeError and nothing else, whatever the bytes."""
    try:
        return _normalise(data, limits)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        start = bytes(data[:16])
        raise DecodeError("not_an_image", f"no known picture format; the bytes begin {start!r}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too_many_pixels", str(error)) from error
    except Exception as error:  # on hostile bytes Pillow raises nearly anything; each becomes a row
        text = f"{type(error).__name__}: {error}"
        cut = any(word in text.lower() for word in ("truncated", "eof", "broken data stream", "not enough"))
        raise DecodeError("truncated" if cut else "corrupt", text) from error


def _normalise(data: bytes, limits: Limits) -> Picture:
    Image.init()  # registers every format once; without it `formats` names some unknown to Pillow
    with Image.open(io.BytesIO(data), formats=OPENED) as source:
        kind = source.format or ""
        pixels = source.width * source.height
        if pixels > limits.max_pixels:
            raise DecodeError("too_many_pixels", f"{source.width}x{source.height}, over {limits.max_pixels}")
        orientation = _orientation(source)
        profile = _foreign_profile(source)
        fits = max(source.size) <= limits.longest_side
        keep = kind == "JPEG" and source.mode == "RGB" and fits and orientation == 1 and profile is None
        if kind in ("JPEG", "MPO") and not fits:  # decode at 1/2, 1/4 or 1/8, never below twice the goal
            source.draft(None, (2 * limits.longest_side, 2 * limits.longest_side))
        source.load()
        picture = _to_rgb(source, profile)
        if orientation in _UPRIGHT:
            picture = picture.transpose(_UPRIGHT[orientation])
        if not fits:
            picture.thumbnail((limits.longest_side, limits.longest_side), Image.Resampling.LANCZOS)
        if not keep:
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=limits.jpeg_quality)
            data = out.getvalue()
        return Picture(
            bytes=bytes(data),
            image_id=hashlib.sha256(data).hexdigest()[:IMAGE_ID_LENGTH],
            format=FORMATS[kind],
            width=picture.width,
            height=picture.height,
            phash=phash(picture),
        )


def _orientation(source: Image.Image) -> int:
    try:
        value = source.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF says nothing about the picture itself, which may be fine
        return 1
    return value if isinstance(value, int) else 1


def _foreign_profile(source: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The colour profile, unless it is absent, unreadable or sRGB already."""
    raw = source.info.get("icc_profile")
    if not raw:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(raw))
        return None if "sRGB" in ImageCms.getProfileDescription(profile) else profile
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):  # browsers take it as sRGB, so do we
        return None


def _to_rgb(source: Image.Image, profile: ImageCms.ImageCmsProfile | None) -> Image.Image:
    """The picture in 8-bit sRGB, transparency laid on white."""
    if source.mode.startswith("I"):  # 16 bits a pixel: convert() would clip instead of scale
        grey = np.asarray(source).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if profile is not None and source.mode in ("RGB", "CMYK", "L"):
        try:
            converted = ImageCms.profileToProfile(
                source, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except ImageCms.PyCMSError:  # the profile is for another colour space: as if there were none
            return source.convert("RGB")
    if source.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in source.info:
        rgba = source.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return source if source.mode == "RGB" else source.convert("RGB")


@cache
def _dct_32() -> np.ndarray:
    """The first 8 rows of the DCT-II of 32 points, (8, 32)."""
    frequency, point = np.arange(8)[:, None], np.arange(32)[None, :]
    return np.cos(np.pi * frequency * (2 * point + 1) / 64)


def phash(picture: Image.Image) -> str:
    """64-bit perceptual hash, 16 hex: the signs of the lowest 8x8 DCT terms about their median.

    The same bits as `imagehash.phash`, without the cost of importing and running scipy.
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    low = _dct_32() @ grey @ _dct_32().T
    return f"{int.from_bytes(np.packbits(low > np.median(low)).tobytes(), 'big'):016x}"
