"""Ranks of the targets and what is made of them, with bootstrap intervals over the queries.

A query's own reference is left out of its ranking, unless a protocol lets it count. A tie counts against the
model: a candidate that scores as much as the target ranks before it, so constant vectors earn nothing.

    >>> gallery = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    >>> query = np.array([[0, 1]], np.float32)
    >>> find(query, gallery, references=np.array([0]), targets=np.array([2])).ranks
    array([2])

Shapes: Q queries, G candidates, D dimensions, S resamples, M metrics. Ranks count from 1.
"""

from dataclasses import dataclass

import numpy as np
import torch

from facap.model.matching import scores

RECALLS_AT = (1, 5, 10, 50)
QUERIES_AT_ONCE = 512  # bounds the Q x G scores held in memory
NOBODY = -1  # as a reference: none of the gallery is left out


@dataclass(frozen=True)
class Found:
    """Of each query: the rank of what it asks for, and the average precision of all that it asks for."""

    ranks: np.ndarray  # int64 Q; of several that are right, the best one's, the others count for nothing
    precisions: np.ndarray  # float64 Q

    def __getitem__(self, some: np.ndarray) -> "Found":
        return Found(self.ranks[some], self.precisions[some])


def find(
    queries_QD: np.ndarray,
    gallery_GD: np.ndarray,
    references: np.ndarray,
    targets: np.ndarray,
    products_G: np.ndarray | None = None,
) -> Found:
    """What each query finds: its target or, with `products_G`, any view of the target's product.

    `references`, `targets`: rows of the gallery, one a query; a reference may be NOBODY. `products_G`: a
    number a product, one a candidate.
    """
    same_G = np.arange(len(gallery_GD)) if products_G is None else products_G
    ranks, precisions = [], []
    for start in range(0, len(queries_QD), QUERIES_AT_ONCE):
        some = slice(start, start + QUERIES_AT_ONCE)
        scores_QG = scores(torch.from_numpy(queries_QD[some]), torch.from_numpy(gallery_GD)).numpy()
        right_QG = same_G[None, :] == same_G[targets[some]][:, None]
        excluded = np.flatnonzero(references[some] != NOBODY)
        left_out = references[some][excluded]
        assert not right_QG[excluded, left_out].any(), "a target is its reference, or a view of it"
        wrong_QG = ~right_QG
        wrong_QG[excluded, left_out] = False
        for one_G, right_G, wrong_G in zip(scores_QG, right_QG, wrong_QG, strict=True):
            rights = -np.sort(-one_G[right_G])
            before = (one_G[wrong_G][None, :] >= rights[:, None]).sum(axis=1)
            places = 1 + np.arange(len(rights))
            ranks.append(1 + before[0])
            precisions.append((places / (places + before)).mean())
    return Found(np.array(ranks, dtype=np.int64), np.array(precisions, dtype=np.float64))


def metric_names() -> list[str]:
    """The metrics of `summarise`, in its order."""
    kinds = [f"recall{kind}@{k}" for kind in ("", "_product") for k in RECALLS_AT]
    return [*kinds, "map", "map_product", "median_rank"]


def summarise(target: Found, product: Found) -> np.ndarray:
    """The metrics (M, in the order of `metric_names`) of Q queries."""
    return _summaries(target, product, np.arange(len(target.ranks))[None])[0]


def bootstrap(target: Found, product: Found, samples: int, rng: np.random.Generator) -> np.ndarray:
    """The metrics (S x M) of `samples` resamples of the queries, drawn with replacement."""
    size = len(target.ranks)
    found = []
    at_once = max(1, 2_000_000 // size)
    for start in range(0, samples, at_once):
        drawn_SQ = rng.integers(0, size, size=(min(at_once, samples - start), size))
        found.append(_summaries(target, product, drawn_SQ))
    return np.concatenate(found)


def _summaries(target: Found, product: Found, drawn_SQ: np.ndarray) -> np.ndarray:
    both = [one[drawn_SQ] for one in (target, product)]
    recalls = [(one.ranks <= k).mean(axis=1) for one in both for k in RECALLS_AT]
    precisions = [one.precisions.mean(axis=1) for one in both]
    return np.stack([*recalls, *precisions, np.median(both[0].ranks, axis=1)], axis=1)


def interval(samples_SM: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of each metric: its lower and its upper ends (M,)."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(samples_SM, [tail, 100 - tail], axis=0)
    return low, high
