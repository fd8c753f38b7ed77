"""What a picture looks like, as bits: alike pictures differ in few of them.

    >>> len(phash(np.zeros((40, 30), np.uint8)))
    128

256 bits say on which side of their median the lowest 16 x 16 terms of the cosine transform lie. A picture
has two such hashes, one of itself and one of its inner 95 %: a copy that was cropped resembles the latter.
docs/crawl.md has the measurements that these numbers come from.
"""

from functools import lru_cache

import cv2
import numpy as np

SIDE = 64  # points a side that are transformed, whatever the picture's size
TERMS = 16  # a side
BITS = TERMS * TERMS
INNER = 0.95  # of each side
MOST_LENGTHS = 512  # of sides, that are remembered


@lru_cache(MOST_LENGTHS)
def _terms(length: int, share: float) -> np.ndarray:
    """(TERMS, length): the first rows of the DCT-II of SIDE points, which average the inner `share`."""
    frequency, point = np.arange(TERMS)[:, None], np.arange(SIDE)[None, :]
    dct = np.cos(np.pi * frequency * (2 * point + 1) / (2 * SIDE))
    start, pixel = length * (1 - share) / 2, np.arange(length)[None, :]
    edges = np.linspace(start, length - start, SIDE + 1)[:, None]
    covered = np.clip(edges[1:] - pixel, 0, 1) - np.clip(edges[:-1] - pixel, 0, 1)
    return (dct @ covered / (length * share)).astype(np.float32)


def phash(grey_HW: np.ndarray) -> str:
    """The hashes of the picture and of its inner part, 64 hex each."""
    while min(grey_HW.shape) >= 2 * SIDE:  # halves are means too, and cost nothing
        height, width = (side // 2 for side in grey_HW.shape)
        even_HW = grey_HW[: 2 * height, : 2 * width]
        grey_HW = cv2.resize(even_HW, (width, height), interpolation=cv2.INTER_AREA)
    height, width = grey_HW.shape
    points_HW = grey_HW.astype(np.float32)
    low_2N = np.stack([(_terms(height, s) @ points_HW @ _terms(width, s).T).ravel() for s in (1.0, INNER)])
    median_21 = np.partition(low_2N, BITS // 2, axis=1)[:, BITS // 2 :][:, :1]
    return np.packbits(low_2N >= median_21, axis=1).tobytes().hex()


def unpack(hashes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes as FAISS takes them: bytes of the whole pictures and of the inner ones, (n, BITS / 8) each."""
    flat = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 2, BITS // 8)
    return np.ascontiguousarray(flat[:, 0]), np.ascontiguousarray(flat[:, 1])
