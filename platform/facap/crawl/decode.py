"""Bytes from anywhere -> one normalised picture: upright sRGB JPEG within limits.

    >>> picture = normalise(body, Limits())                     # doctest: +SKIP
    >>> picture.width, picture.height, picture.format           # doctest: +SKIP
    (384, 512, 'webp')

The kind of picture is decided by its content, never by its name or header, and its size is held against
the limits before anything is unpacked. What is already an upright sRGB JPEG within the limits keeps its
bytes after a full decode, so that nothing is lost. Ordinary JPEGs go through libjpeg-turbo at the smallest
scale that serves, the plainest of them at once; everything else goes through Pillow, to the same result.

Reasons (`DecodeError.status`): not_an_image, too_many_pixels, too_small, too_elongated, truncated, corrupt,
out_of_memory.
"""

import hashlib
import io
import threading
from dataclasses import dataclass, fields

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageCms, UnidentifiedImageError

from facap.crawl.colour import foreign_profile, to_srgb, upright
from facap.crawl.config import CrawlConfig
from facap.crawl.jpeg import plain_size
from facap.crawl.phash import phash
from facap.crawl.shrink import fitting, prescale, shrink

FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "AVIF": "avif"}
OPENED = [name for name in FORMATS if name != "MPO"]  # Pillow finds it when it opens a JPEG
ORIENTATION = 0x0112  # EXIF tag
IMAGE_ID_LENGTH = 32  # hex digits
MAX_SCANS = 32  # of a JPEG; progressive ones have about ten, and each costs a walk over the whole picture
HARMLESS = ("extraneous bytes", "SOS parameters", "JFIF revision", "Adobe color")  # libjpeg's warnings
PLAIN_COLOUR = 1.5  # times smaller from which smoothing coarse colour planes is lost work; see docs/log.md
SCRATCH_BYTES = 8 * 2**20  # a thread keeps for decoding into; fresh memory costs a third of the decoding
CUT = ("truncated", "eof", "broken data stream", "not enough", "premature end of jpeg")

_scratch = threading.local()


class DecodeError(Exception):
    """A picture that cannot be used; `status` is the reason in snake_case."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What a picture may be, and what a normalised one is."""

    max_pixels: int = 50_000_000
    longest_side: int = 512  # px
    jpeg_quality: int = 92
    min_side: int = 16  # px
    max_aspect: float = 10.0  # longer side over shorter


def limits_of(config: CrawlConfig) -> Limits:
    """The limits that are set."""
    return Limits(**{field.name: getattr(config, field.name) for field in fields(Limits)})


@dataclass(frozen=True)
class _Decoded:
    """A picture as pixels, perhaps fewer than `width` times `height`, which are those that it came with."""

    rgb_HWC: np.ndarray
    format: str
    width: int
    height: int
    orientation: int = 1  # as EXIF counts
    upright_srgb: bool = True  # its bytes may stay as they are, if it need not be made smaller


@dataclass(frozen=True)
class Picture:
    """A normalised picture; `bytes` is JPEG, `format` the kind it came as."""

    bytes: bytes
    image_id: str
    format: str
    width: int
    height: int
    phash: str


def use_one_thread() -> None:
    """Keeps OpenCV from starting threads of its own, for processes that decode in several threads already."""
    cv2.setNumThreads(1)


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
    except MemoryError as error:
        raise DecodeError("out_of_memory", "there was not enough memory to decode it") from error
    except Exception as error:  # on hostile bytes Pillow raises nearly anything; each becomes a row
        text = f"{type(error).__name__}: {error}"
        raise DecodeError("truncated" if _is_cut(text) else "corrupt", text) from error


def _is_cut(text: str) -> bool:
    return any(words in text.lower() for words in CUT)


def _normalise(data: bytes, limits: Limits) -> Picture:
    decoded = _plain(data, limits) or _any(data, limits)
    rgb_HWC = decoded.rgb_HWC
    fits = max(decoded.width, decoded.height) <= limits.longest_side
    if not fits:
        rgb_HWC = shrink(rgb_HWC, fitting(decoded.width, decoded.height, limits.longest_side))
    rgb_HWC = upright(rgb_HWC, decoded.orientation)
    if not (fits and decoded.upright_srgb):
        data = simplejpeg.encode_jpeg(rgb_HWC, limits.jpeg_quality, colorsubsampling="420")
    return Picture(
        bytes=bytes(data),
        image_id=hashlib.sha256(data).hexdigest()[:IMAGE_ID_LENGTH],
        format=decoded.format,
        width=rgb_HWC.shape[1],
        height=rgb_HWC.shape[0],
        phash=phash(cv2.cvtColor(rgb_HWC, cv2.COLOR_RGB2GRAY)),
    )


def _plain(data: bytes, limits: Limits) -> _Decoded | None:
    size = plain_size(data)
    if size is None:
        return None
    _check_size(*size, limits)
    rgb_HWC = _turbo(data, *size, limits)
    return None if rgb_HWC is None else _Decoded(rgb_HWC, "jpeg", *size)


def _any(data: bytes, limits: Limits) -> _Decoded:
    Image.init()  # registers every format once; without it `formats` names some unknown to Pillow
    _check_webp(data, limits)
    with Image.open(io.BytesIO(data), formats=OPENED) as source:
        kind, width, height = FORMATS[source.format or ""], source.width, source.height
        _check_size(width, height, limits)
        if kind == "jpeg" and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
            raise DecodeError("corrupt", f"{scans} scans, over {MAX_SCANS}")
        profile = foreign_profile(source.info.get("icc_profile"))
        ordinary = kind == "jpeg" and source.mode in ("RGB", "L") and profile is None
        turbo_HWC = _turbo(data, width, height, limits) if ordinary else None
        rgb_HWC = _pillow(source, profile, limits) if turbo_HWC is None else turbo_HWC
        orientation = 1 if kind == "jpeg" and "exif" not in source.info else _orientation(source)
        upright_srgb = turbo_HWC is not None and orientation == 1 and source.mode == "RGB"
    return _Decoded(rgb_HWC, kind, width, height, orientation, upright_srgb)


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise DecodeError("too_many_pixels", f"{width}x{height}, over {limits.max_pixels}")
    if min(width, height) < limits.min_side:
        raise DecodeError("too_small", f"{width}x{height}, a side under {limits.min_side}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise DecodeError("too_elongated", f"{width}x{height}, over {limits.max_aspect:g} to 1")


def _check_webp(data: bytes, limits: Limits) -> None:
    """Pillow reserves a WebP's whole canvas when it opens it, so its header is read here first."""
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X" or len(data) < 30:
        return  # without VP8X a canvas is at most 16383 px wide and high, and not reserved
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    if width * height > limits.max_pixels:
        raise DecodeError("too_many_pixels", f"{width}x{height}, over {limits.max_pixels}")


def _turbo(data: bytes, width: int, height: int, limits: Limits) -> np.ndarray | None:
    """An ordinary JPEG as RGB, at 1/1 to 1/8; None if its sampling of colour is one that TurboJPEG lacks.

    What libjpeg warns of is an error, but for trifles.
    """
    ratio = max(width, height) / limits.longest_side
    factor = prescale(ratio)
    height, width = -(-height // factor), -(-width // factor)
    how = {"min_height": height, "min_width": width, "buffer": _buffer(height * width * 3)}
    how["fastupsample"] = ratio / factor >= PLAIN_COLOUR
    try:
        return simplejpeg.decode_jpeg(data, **how)
    except ValueError as error:
        if "determine subsampling" in str(error):
            return None
        if not any(words in str(error) for words in HARMLESS):
            raise
        return simplejpeg.decode_jpeg(data, **how, strict=False)


def _buffer(size: int) -> bytearray | None:
    """This thread's memory for one decoded picture: overwritten by the next one."""
    if size > SCRATCH_BYTES:
        return None
    if not hasattr(_scratch, "memory"):
        _scratch.memory = bytearray(SCRATCH_BYTES)
    return _scratch.memory


def _pillow(source: Image.Image, profile: ImageCms.ImageCmsProfile | None, limits: Limits) -> np.ndarray:
    """Anything else as RGB: the first frame, its colours converted, transparency laid on white."""
    if source.format in ("JPEG", "MPO"):
        factor = prescale(max(source.size) / limits.longest_side)
        source.draft(None, (-(-source.width // factor), -(-source.height // factor)))
    source.load()
    return np.array(to_srgb(source, profile))


def _orientation(source: Image.Image) -> int:
    try:
        value = source.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF says nothing about the picture itself, which may be fine
        return 1
    return value if isinstance(value, int) else 1
