"""How a picture is to be turned, as browsers do: what its EXIF says; what XMP says does not count.

>>> exif = Image.Exif()
>>> exif[ORIENTATION] = 6
>>> orientation_in(exif.tobytes())
6
"""

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF tag

_FLIPS = {2: 1, 3: -1, 4: 0}  # EXIF orientation -> cv2.flip's code
_TURNS = {6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}


def orientation_in(raw: bytes | None) -> int:
    """The orientation that EXIF data names; 1, upright, where there is none or it is broken."""
    if not raw:
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(ORIENTATION, 1)
    except Exception:  # broken EXIF says nothing about the picture itself, which may be fine
        return 1
    return value if isinstance(value, int) else 1


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
