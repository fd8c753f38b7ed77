"""Pictures that show the same though their bytes differ: found by hash, then made sure of by looking.

    >>> representatives(hashes, thumbnails_of)          # doctest: +SKIP
    [0, 1, 0]

A picture takes the nearest one before it that stands for itself and is the same (see likeness.py), or
stands for itself. So every duplicate was compared with its very representative: alikeness is not handed on.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from facap.crawl.likeness import SAME, fields, fitted_difference, may_be_one
from facap.crawl.phash import BITS, unpack

RADIUS = 84  # of 256 bits; wide, since likeness.py decides. See docs/crawl.md
MOST_LOOKS = 16  # candidates of one picture that are looked at, nearest first
AT_A_TIME = 1024  # pictures
ASKED_AT_A_TIME = 128  # pictures, each of which all others may be near: their pairs have to fit into memory
FAR = BITS + 1


def representatives(
    hashes: Sequence[str],
    thumbnails_of: Callable[[list[int]], np.ndarray],
    radius: int = RADIUS,
    same: float = SAME,
) -> list[int]:
    """For each picture, by its place, the place of the picture that stands for it; places are precedence.

    `thumbnails_of(places)` gives the thumbnails of these, (n, SIDE, SIDE, 3); it is called once, with the
    pictures that have a candidate at all.
    """
    result = list(range(len(hashes)))
    whole, inner = unpack(list(hashes))
    places = np.flatnonzero(have_candidates(whole, inner, radius)).tolist()
    if not places:
        return result
    pictures = thumbnails_of(places)
    colours = np.stack([fields(picture) for picture in pictures])
    whole, inner = whole[places], inner[places]
    leaders = _Leaders(whole, inner)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="likeness") as threads:
        for start in range(0, len(places), AT_A_TIME):
            block = range(start, min(start + AT_A_TIME, len(places)))
            known = leaders.near(block, radius)
            new: list[int] = []
            for number in block:
                among_new = _distances(whole, inner, number, new)
                candidates = sorted([*known[number - start], *(c for c in among_new if c[0] <= radius)])
                nearest = np.array([leader for _, leader in candidates[:MOST_LOOKS]], np.int64)
                nearest = nearest[may_be_one(colours[number], colours[nearest])]
                apart = threads.map(fitted_difference, pictures[nearest], [pictures[number]] * len(nearest))
                for leader, by in zip(nearest, apart, strict=True):
                    if by <= same:
                        result[places[number]] = places[int(leader)]
                        break
                else:
                    new.append(number)
            leaders.add(new)
    return result


def have_candidates(whole: np.ndarray, inner: np.ndarray, radius: int) -> np.ndarray:
    """Whether each picture is within `radius` bits of another; either may be a crop of the other.

    The time grows with the square of the number of pictures: every pair is compared.
    """
    import faiss

    found = np.zeros(len(whole), bool)
    index = faiss.IndexBinaryFlat(BITS)
    index.add(whole)
    for asked in (whole, inner):
        for start in range(0, len(asked), ASKED_AT_A_TIME):
            block = asked[start : start + ASKED_AT_A_TIME]
            limits, _, others = index.range_search(block, radius + 1)  # it gives what is nearer than that
            places = np.repeat(np.arange(start, start + len(block)), np.diff(limits).astype(np.int64))
            apart = others != places
            found[places[apart]] = found[others[apart]] = True
    return found


class _Leaders:
    """The pictures that stand for themselves so far."""

    def __init__(self, whole: np.ndarray, inner: np.ndarray) -> None:
        import faiss

        self.whole, self.inner = whole, inner
        self.by_whole, self.by_inner = faiss.IndexBinaryFlat(BITS), faiss.IndexBinaryFlat(BITS)
        self.numbers = np.empty(0, np.int64)

    def add(self, numbers: list[int]) -> None:
        if numbers:
            self.by_whole.add(self.whole[numbers])
            self.by_inner.add(self.inner[numbers])
            self.numbers = np.concatenate([self.numbers, np.array(numbers, np.int64)])

    def near(self, block: range, radius: int) -> list[list[tuple[int, int]]]:
        """(bits, leader) of the nearest leaders within `radius`, for each picture of the block."""
        near: list[dict[int, int]] = [{} for _ in block]
        part = slice(block.start, block.stop)
        searches = (
            (self.by_whole, self.whole), (self.by_whole, self.inner), (self.by_inner, self.whole)
        )  # fmt: skip
        for index, asked in searches if len(self.numbers) else ():
            bits, found = index.search(asked[part], min(MOST_LOOKS, len(self.numbers)))
            for row, column in np.argwhere(bits <= radius).tolist():
                leader = int(self.numbers[found[row, column]])
                near[row][leader] = min(int(bits[row, column]), near[row].get(leader, FAR))
        return [[(bits, leader) for leader, bits in found.items()] for found in near]


def _distances(whole: np.ndarray, inner: np.ndarray, number: int, others: list[int]) -> list[tuple[int, int]]:
    """(bits, other) between one picture and some others."""
    if not others:
        return []
    pairs = (
        whole[others] ^ whole[number], whole[others] ^ inner[number], inner[others] ^ whole[number]
    )  # fmt: skip
    bits = np.min([np.bitwise_count(pair).sum(axis=1) for pair in pairs], axis=0)
    return list(zip(bits.tolist(), others, strict=True))
