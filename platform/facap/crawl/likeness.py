"""Whether two pictures are one: laid over each other as well as they can be, how far apart their colours are.

    >>> difference(small, small)                # doctest: +SKIP
    0.0

Hashes find candidates and are blind to colour and detail: the same dress in navy and in black is one to
them, and shops show many garments in one pose. So candidates are compared as pictures of SIDE px: an affine
map that undoes a crop is fitted (Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced
Correlation Coefficient Maximization", 2008), and what remains is measured.
"""

import cv2
import numpy as np
import simplejpeg

SIDE = 64  # px
SAME = 10.0  # root mean square colour difference, of 255, up to which two pictures are one; see docs/crawl.md
MOST_STRETCH = 0.1  # of a copy's sides against the original's
MOST_SKEW = 0.04
LEAST_OVERLAP = 0.8  # of the area
NOTHING_IN_COMMON = float("inf")
COARSE = 4  # a picture's sides in fields whose mean colours are compared first, which is 30 times quicker
MOST_COARSE = 25.0  # of 255; no photograph and its copy were further apart than 22, see docs/log.md

_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 1e-3)
_BLUR = 5  # px, while the map is fitted


def thumbnail(jpeg: bytes) -> np.ndarray:
    """A stored picture as (SIDE, SIDE, 3) bytes, whatever its shape."""
    rgb_HWC = simplejpeg.decode_jpeg(jpeg, min_height=SIDE, min_width=SIDE, strict=False)
    return cv2.resize(rgb_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def difference(one_SSC: np.ndarray, other_SSC: np.ndarray) -> float:
    """Root mean square difference of two thumbnails where they overlap, 0 to 255; inf if they cannot."""
    if not may_be_one(fields(one_SSC), fields(other_SSC)):
        return NOTHING_IN_COMMON
    return fitted_difference(one_SSC, other_SSC)


def fields(picture_SSC: np.ndarray) -> np.ndarray:
    """The mean colours of COARSE x COARSE fields, one after the other."""
    coarse = cv2.resize(picture_SSC, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    return coarse.astype(np.float32).ravel()


def may_be_one(one_F: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether `fields` of a picture are near those of another, or of each row of others."""
    return np.sqrt(np.square(others - one_F).mean(axis=-1)) <= MOST_COARSE


def fitted_difference(one_SSC: np.ndarray, other_SSC: np.ndarray) -> float:
    """`difference` of pictures whose fields are near each other."""
    fitted, everywhere = np.eye(2, 3, dtype=np.float32), np.full((SIDE, SIDE), 255, np.uint8)
    one, other = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (one_SSC, other_SSC))
    try:
        _, found = cv2.findTransformECC(one, other, fitted, cv2.MOTION_AFFINE, _STOP, everywhere, _BLUR)
        fitted = np.asarray(found, np.float32)
    except cv2.error:  # no map was found: for even pictures, which have no detail, the identity is one
        fitted = np.eye(2, 3, dtype=np.float32)
    stretch = max(abs(fitted[0, 0] - 1), abs(fitted[1, 1] - 1))
    if not stretch <= MOST_STRETCH or not max(abs(fitted[0, 1]), abs(fitted[1, 0])) <= MOST_SKEW:
        return NOTHING_IN_COMMON
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (SIDE, SIDE)
    moved = cv2.warpAffine(other_SSC.astype(np.float32), fitted, size, flags=how)
    whole = cv2.warpAffine(np.ones(size, np.float32), fitted, size, flags=how) > 0.999
    if whole.mean() < LEAST_OVERLAP:
        return NOTHING_IN_COMMON
    return float(np.sqrt(np.square(moved - one_SSC)[whole].mean()))
