"""What a picture looks like, as bits: alike pictures differ in few of them.

    >>> len(phash(np.zeros((40, 30), np.uint8)))
    128

256 bits say on which side of their median the lowest 16 x 16 terms of the cosine transform lie. A picture
has two such hashes, one of itself and one of its inner 95 %: a copy that was cropped resembles the latter.
docs/crawl.md has the measurements that these numbers come from.
"""

from functools import cache

import cv2
import numpy as np

SIDE = 64  # px that are transformed
TERMS = 16  # a side
BITS = TERMS * TERMS
INNER = 0.95  # of each side


@cache
def _dct() -> np.ndarray:
    """The first TERMS rows of the DCT-II of SIDE points."""
    frequency, point = np.arange(TERMS)[:, None], np.arange(SIDE)[None, :]
    return np.cos(np.pi * frequency * (2 * point + 1) / (2 * SIDE)).astype(np.float32)


def phash(grey_HW: np.ndarray) -> str:
    """The hashes of the picture and of its inner part, 64 hex each."""
    height, width = grey_HW.shape
    top, left = round(height * (1 - INNER) / 2), round(width * (1 - INNER) / 2)
    views = grey_HW, grey_HW[top : height - top, left : width - left]
    small_2HW = np.stack([cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for view in views])
    low_2N = (_dct() @ small_2HW.astype(np.float32) @ _dct().T).reshape(2, BITS)
    median_21 = np.partition(low_2N, BITS // 2, axis=1)[:, BITS // 2 :][:, :1]
    return np.packbits(low_2N >= median_21, axis=1).tobytes().hex()


def unpack(hashes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes as FAISS takes them: bytes of the whole pictures and of the inner ones, (n, BITS / 8) each."""
    flat = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 2, BITS // 8)
    return np.ascontiguousarray(flat[:, 0]), np.ascontiguousarray(flat[:, 1])
