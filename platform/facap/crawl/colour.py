"""Whatever a decoder hands out -> 8-bit sRGB that stands upright.

>>> to_srgb(Image.new("LA", (2, 2), (0, 0)), None).getpixel((0, 0))     # transparent: white
(255, 255, 255)
"""

import io
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}  # Pillow's mode -> the colour space of its profiles
MAX_PROFILE = 4 * 2**20  # bytes; larger ones are taken as none

_FLIPS = {2: 1, 3: -1, 4: 0}  # EXIF orientation -> cv2.flip's code
_TURNS = {6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}


def upright(rgb_HWC: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as it should be seen; `orientation` is EXIF's, 1 to 8, others count as 1."""
    if orientation in _FLIPS:
        return cv2.flip(rgb_HWC, _FLIPS[orientation])
    if orientation in _TURNS:
        return cv2.rotate(rgb_HWC, _TURNS[orientation])
    if orientation == 5:
        return cv2.transpose(rgb_HWC)
    if orientation == 7:
        return cv2.flip(cv2.transpose(rgb_HWC), -1)
    return rgb_HWC


def foreign_profile(raw: bytes | None) -> ImageCms.ImageCmsProfile | None:
    """The colour profile, unless it is absent, unreadable or sRGB already."""
    if not raw or len(raw) > MAX_PROFILE or _is_srgb(raw):
        return None
    return ImageCms.ImageCmsProfile(io.BytesIO(raw))


@lru_cache(64)  # shops use a handful of profiles
def _is_srgb(raw: bytes) -> bool:
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(raw)))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):  # browsers take it as sRGB, so do we
        return True


def to_srgb(source: Image.Image, profile: ImageCms.ImageCmsProfile | None) -> Image.Image:
    """The loaded picture in 8-bit sRGB, transparency laid on white."""
    picture = source
    if source.mode.startswith("I"):  # 16 bits a pixel: convert() would clip instead of scale
        grey = np.asarray(source).astype(np.int64) >> 8
        picture = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    elif source.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in source.info:
        rgba = source.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    elif source.mode not in SPACES:
        picture = source.convert("RGB")
    if profile is not None:
        picture = _converted(picture, profile)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _converted(picture: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    if (
        profile.profile.xcolor_space.strip() != SPACES[picture.mode]
    ):  # of another space: as if there were none
        return picture
    try:
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB") or picture
    except ImageCms.PyCMSError:
        return picture
