"""Bytes from anywhere -> one normalised picture: upright sRGB JPEG within limits.

    >>> picture = normalise(body, Limits())                     # doctest: +SKIP
    >>> picture.width, picture.height, picture.format           # doctest: +SKIP
    (384, 512, 'webp')

The kind of picture is decided by its content, never by its name or header, and its size is held against
the limits before anything is unpacked. What is already an upright sRGB JPEG within the limits is not encoded
again: after a full decode it keeps its bytes but for metadata and what stands behind the picture. JPEGs go
through libjpeg-turbo at the smallest scale that serves, the plainest of them at once; everything else goes
through Pillow, to the same result.

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
from PIL import Image, UnidentifiedImageError

from facap.crawl.colour import conversion, to_srgb
from facap.crawl.config import CrawlConfig
from facap.crawl.jpeg import Jpeg, is_jpeg, plain_size, take_apart
from facap.crawl.orientation import orientation_in, upright
from facap.crawl.phash import phash
from facap.crawl.profiles import profile_of
from facap.crawl.shrink import fitting, prescale, shrink

FORMATS = ("PNG", "WEBP", "GIF", "AVIF")  # beside JPEG
IMAGE_ID_LENGTH = 32  # hex digits
TURBO = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # Pillow's mode -> TurboJPEG's
BEFORE_END = "extraneous bytes before marker 0xd9"
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
    jpeg: bytes | None = None  # an upright sRGB JPEG of it that may stay, if it need not be made smaller


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
    rgb_HWC, jpeg = decoded.rgb_HWC, decoded.jpeg
    if not _fits(decoded.width, decoded.height, limits):
        rgb_HWC = shrink(rgb_HWC, fitting(decoded.width, decoded.height, limits.longest_side))
        jpeg = None
    rgb_HWC = upright(rgb_HWC, decoded.orientation)
    if jpeg is None:
        jpeg = simplejpeg.encode_jpeg(rgb_HWC, limits.jpeg_quality, colorsubsampling="420")
    return Picture(
        bytes=jpeg,
        image_id=hashlib.sha256(jpeg).hexdigest()[:IMAGE_ID_LENGTH],
        format=decoded.format,
        width=rgb_HWC.shape[1],
        height=rgb_HWC.shape[0],
        phash=phash(cv2.cvtColor(rgb_HWC, cv2.COLOR_RGB2GRAY)),
    )


def _fits(width: int, height: int, limits: Limits) -> bool:
    return max(width, height) <= limits.longest_side


def _plain(data: bytes, limits: Limits) -> _Decoded | None:
    """An everyday JPEG; None for what is none, or if the decoder has anything to say about it."""
    size = plain_size(data)
    if size is None:
        return None
    _check_size(*size, limits)
    try:
        rgb_HWC = _turbo(data, *size, limits)
    except ValueError:
        return None
    return _Decoded(rgb_HWC, "jpeg", *size, jpeg=take_apart(data).bare if _fits(*size, limits) else None)


def _any(data: bytes, limits: Limits) -> _Decoded:
    if is_jpeg(data):
        return _jpeg(take_apart(data), limits)
    Image.init()  # registers every format once; without it `formats` names some unknown to Pillow
    _check_webp(data, limits)
    with Image.open(io.BytesIO(data), formats=FORMATS) as source:
        kind, width, height = str(source.format).lower(), source.width, source.height
        _check_size(width, height, limits)
        # As browsers do: not WebP's, and of PNG what stands before the pixels; AVIF's properties are in it.
        exif = source.info.get("exif") if kind in ("png", "avif") else None
        source.load()  # of an animation the first frame
        rgb_HWC = np.array(to_srgb(source, profile_of(source, data)))
    return _Decoded(rgb_HWC, kind, width, height, orientation_in(exif))


def _jpeg(jpeg: Jpeg, limits: Limits) -> _Decoded:
    with Image.open(io.BytesIO(jpeg.bare), formats=["JPEG"]) as source:
        (width, height), mode = source.size, source.mode
        _check_size(width, height, limits)
        as_rgb = mode in ("RGB", "L") and conversion(jpeg.profile, mode) is None
        pixels_HWC, sound = _judged(jpeg, width, height, limits, "RGB" if as_rgb else mode)
        if pixels_HWC is None:
            factor = prescale(max(source.size) / limits.longest_side)
            source.draft(None, (-(-width // factor), -(-height // factor)))
            source.load()
            rgb_HWC = np.array(to_srgb(source, jpeg.profile))
        elif as_rgb:
            rgb_HWC = pixels_HWC
        else:
            rows, columns = pixels_HWC.shape[:2]
            drawn = "CMYK;I" if mode == "CMYK" else mode  # inverted, as Adobe does and everyone expects
            picture = Image.frombuffer(mode, (columns, rows), pixels_HWC, "raw", drawn, 0, 1)
            rgb_HWC = np.array(to_srgb(picture, jpeg.profile))
    orientation = orientation_in(jpeg.exif)
    stays = sound and as_rgb and mode == "RGB" and orientation == 1
    return _Decoded(rgb_HWC, "jpeg", width, height, orientation, jpeg.bare if stays else None)


def _judged(jpeg: Jpeg, width: int, height: int, limits: Limits, mode: str) -> tuple[np.ndarray | None, bool]:
    """(pixels, None if the sampling of colours is one that TurboJPEG lacks; whether nothing else is in it).

    What libjpeg warns of is an error, but for trifles. Where EOI is missing, data of a trailer may stand
    between the last pixels and the end that was put there.
    """
    try:
        return _turbo(jpeg.bare, width, height, limits, mode), True
    except ValueError as error:
        said = str(error)
    if not jpeg.ended and BEFORE_END not in said:
        raise DecodeError("truncated", f"the data ends before the picture does ({said})")
    if "determine subsampling" in said:
        return None, False
    if not any(words in said for words in HARMLESS):
        raise ValueError(said)
    return _turbo(jpeg.bare, width, height, limits, mode, strict=False), "extraneous" not in said


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


def _turbo(
    data: bytes, width: int, height: int, limits: Limits, mode: str = "RGB", strict: bool = True
) -> np.ndarray:
    """A JPEG at 1/1 to 1/8, in one of TURBO's colours; ValueError for what libjpeg warns of if `strict`."""
    ratio = max(width, height) / limits.longest_side
    factor = prescale(ratio)
    height, width = -(-height // factor), -(-width // factor)
    return simplejpeg.decode_jpeg(
        data,
        TURBO[mode],
        min_height=height,
        min_width=width,
        buffer=_buffer(height * width * len(mode)),
        fastupsample=ratio / factor >= PLAIN_COLOUR,
        strict=strict,
    )


def _buffer(size: int) -> bytearray | None:
    """This thread's memory for one decoded picture: overwritten by the next one."""
    if size > SCRATCH_BYTES:
        return None
    if not hasattr(_scratch, "memory"):
        _scratch.memory = bytearray(SCRATCH_BYTES)
    return _scratch.memory
