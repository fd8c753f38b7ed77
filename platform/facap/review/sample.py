"""Which TRIPLETS are looked at: as many of each category and each range of the score, as far as there are.

    >>> found = [Triplet("r1", "t1", "top", "in red", 1.0), Triplet("r2", "t2", "top", "in navy", 0.5)]
    >>> edges = lower_edges([triplet.score for triplet in found], num_buckets=4)
    >>> edges, bucket_of(0.75, edges)
    ([0.5, 1.0], 0)
    >>> [triplet.score for triplet in draw(found, edges, 2, seed=0)]
    [0.5, 1.0]

Most scores are high, so an even draw would hardly show what a low score means. Whoever estimates a share of
all TRIPLETS from such a sample has to weigh each mark by how many triplets it stands for (agreement.py).
"""

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.errors import ConfigError, StageFailed
from facap.schemas import OK
from facap.store import Store

COLUMNS = ["reference_id", "target_id", "category", "modification", "status"]


@dataclass(frozen=True)
class Triplet:
    """A usable row of TRIPLETS and its score."""

    reference_id: str
    target_id: str
    category: str
    modification: str
    score: float

    @property
    def key(self) -> tuple[str, str]:
        """What names it."""
        return self.reference_id, self.target_id


def usable(store: Store, score: str) -> list[Triplet]:
    """The triplets with a text and a score, in the order of their ids; the first of each pair of pictures.

    Raises ConfigError if TRIPLETS has no such column of floats, StageFailed if none is usable.
    """
    first = store.require("triplets").files[0]
    schema = store.read_file("triplets", first).schema
    scores = [field.name for field in schema if pa.types.is_floating(field.type)]
    if score not in scores:
        raise ConfigError(
            f"review.score: TRIPLETS has no column of scores '{score}'; there are: {', '.join(scores)}"
        )
    rows = store.read("triplets", [*COLUMNS, score])
    rows = rows.filter(pc.and_(pc.equal(rows.column("status"), OK), pc.is_valid(rows.column(score))))
    found = [
        Triplet(
            row["reference_id"], row["target_id"], row["category"], row["modification"], float(row[score])
        )
        for row in rows.to_pylist()
        if row["modification"] and math.isfinite(row[score])
    ]
    if not found:
        raise StageFailed(
            f"review: no row of TRIPLETS has both a text and a {score}; look at the failures of the job "
            "modify, or set review.score to another column"
        )
    found.sort(key=lambda triplet: (triplet.key, triplet.modification))  # imported data may repeat a pair
    return list({triplet.key: triplet for triplet in reversed(found)}.values())[::-1]


def lower_edges(scores: Sequence[float], num_buckets: int) -> list[float]:
    """Where each bucket begins: one a value if there are few values, else quantiles of the values."""
    values = np.unique(np.array(scores, np.float64))
    if len(values) > num_buckets:
        shares = np.arange(num_buckets) / num_buckets
        values = np.unique(np.quantile(values, shares, method="lower"))
    return [float(value) for value in values]


def bucket_of(score: float, edges: Sequence[float]) -> int:
    """The bucket that holds `score`, from 0."""
    return max(0, bisect_right(edges, score) - 1)


def draw(triplets: Sequence[Triplet], edges: Sequence[float], num_triplets: int, seed: int) -> list[Triplet]:
    """`num_triplets` of them, or all: one of each category and bucket in turn; in no order that tells."""
    rng = random.Random(seed)
    strata: dict[tuple[str, int], list[Triplet]] = {}
    for triplet in sorted(triplets, key=lambda triplet: triplet.key):
        strata.setdefault((triplet.category, bucket_of(triplet.score, edges)), []).append(triplet)
    left = [strata[name] for name in sorted(strata)]
    for stratum in left:
        rng.shuffle(stratum)
    chosen: list[Triplet] = []
    while len(chosen) < num_triplets and left:
        rng.shuffle(left)  # the last round is too short for all
        chosen += [stratum.pop() for stratum in left[: num_triplets - len(chosen)]]
        left = [stratum for stratum in left if stratum]
    rng.shuffle(chosen)
    return chosen
