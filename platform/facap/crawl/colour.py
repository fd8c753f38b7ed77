"""Whatever a decoder hands out -> 8-bit sRGB.

>>> to_srgb(Image.new("LA", (2, 2), (0, 0)), None).getpixel((0, 0))     # transparent: white
(255, 255, 255)

A colour profile is judged by what it does to colours, never by its name: phones name Display P3 after the
curve that it shares with sRGB. One that leaves colours as they are counts as none, which is why nearly all
pictures with a profile may stay as they are.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}  # Pillow's mode -> the colour space of its profiles
MAX_PROFILE = 4 * 2**20  # bytes; larger ones are taken as none
PROFILES_KEPT = 16  # shops use a handful
SAME = 2  # of 255: how far a profile may move a colour and still be sRGB; encoders round curves differently

Conversion = ImageCms.ImageCmsTransform


def conversion(raw: bytes | None, mode: str) -> Conversion | None:
    """What brings colours of the profile `raw` to sRGB, for pictures of `mode` or, if it says so, of RGB.

    None where there is nothing to do: no profile, a broken one, one of another space, or sRGB itself.
    """
    return _conversion(raw, mode) if raw and len(raw) <= MAX_PROFILE else None


@lru_cache(PROFILES_KEPT)
def _conversion(raw: bytes, mode: str) -> Conversion | None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(raw))
        if mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
            mode = "RGB"
        if profile.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        found = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        return None if mode != "CMYK" and _changes_nothing(found, mode) else found
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):  # browsers take it as sRGB, so do we
        return None


def _changes_nothing(conversion: Conversion, mode: str) -> bool:
    """Tried on greys, and on colours from all over the cube."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    if mode == "RGB":
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 16, 3)
        colours = Image.fromarray(
            np.concatenate([cube, np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)])
        )
    else:
        colours = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    before = np.asarray(colours.convert("RGB"), np.int16)
    after = np.asarray(ImageCms.applyTransform(colours, conversion), np.int16)
    return bool(np.abs(after - before).max() <= SAME)


def to_srgb(source: Image.Image, raw: bytes | None) -> Image.Image:
    """The loaded picture in 8-bit sRGB, transparency laid on white; `raw`: its colour profile."""
    colours, alpha = _apart(source)
    found = conversion(raw, colours.mode)
    rgb = colours if colours.mode == "RGB" else colours.convert("RGB")
    if found is not None:
        rgb = ImageCms.applyTransform(rgb if found.input_mode == "RGB" else colours, found) or rgb
    if alpha is None:
        return rgb
    rgb.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), rgb).convert("RGB")


def _apart(source: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(the colours in a mode of SPACES, the transparency if there is one)."""
    if source.mode.startswith("I"):  # 16 bits a pixel: convert() would clip instead of scale
        grey = np.asarray(source).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)), None
    if source.mode in ("RGBA", "LA", "PA") or "transparency" in source.info:
        without, within = ("L", "LA") if source.mode in ("L", "LA") else ("RGB", "RGBA")
        apart = source.convert(within)
        return apart.convert(without), apart.getchannel("A")
    return (source if source.mode in SPACES else source.convert("RGB")), None
