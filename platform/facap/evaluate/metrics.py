"""Ranks of the targets, recall@k and the median rank, with bootstrap intervals over the queries.

The gallery of a query is every candidate except its own reference. A tie counts against the model:
a candidate that scores as much as the target ranks before it, so constant vectors earn nothing.

    >>> gallery = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    >>> query = np.array([[0, 1]], np.float32)
    >>> target_ranks(query, gallery, references=np.array([0]), targets=np.array([2]))
    array([2])

Shapes: Q queries, G candidates, D dimensions, S resamples, M metrics. Ranks count from 1.
"""

import numpy as np
import torch

from facap.model.matching import scores

RECALLS_AT = (1, 5, 10, 50)
QUERIES_AT_ONCE = 512  # bounds the Q x G scores held in memory


def target_ranks(
    queries_QD: np.ndarray, gallery_GD: np.ndarray, references: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Rank (Q,) of each target image among the candidates, its reference left out.

    `references`, `targets`: rows of the gallery, one a query, never the same.
    """
    return product_ranks(queries_QD, gallery_GD, references, targets, np.arange(len(gallery_GD)))


def product_ranks(
    queries_QD: np.ndarray,
    gallery_GD: np.ndarray,
    references: np.ndarray,
    targets: np.ndarray,
    products_G: np.ndarray,
) -> np.ndarray:
    """Rank (Q,) of the best-ranked view of each target's product; the other views count for nothing.

    `products_G`: a number a product, one a candidate.
    """
    assert not np.any(products_G[references] == products_G[targets]), "a target is a view of its reference"
    ranks = []
    for start in range(0, len(queries_QD), QUERIES_AT_ONCE):
        some = slice(start, start + QUERIES_AT_ONCE)
        scores_QG = scores(torch.from_numpy(queries_QD[some]), torch.from_numpy(gallery_GD)).numpy()
        right_QG = products_G[None, :] == products_G[targets[some]][:, None]
        best_Q1 = np.where(right_QG, scores_QG, -np.inf).max(axis=1, keepdims=True)
        before_QG = (scores_QG >= best_Q1) & ~right_QG
        before_QG[np.arange(len(before_QG)), references[some]] = False
        ranks.append(1 + before_QG.sum(axis=1))
    return np.concatenate(ranks) if ranks else np.zeros(0, dtype=np.int64)


def metric_names() -> list[str]:
    """The metrics of `summarise`, in its order."""
    names = [f"recall@{k}" for k in RECALLS_AT] + [f"recall_product@{k}" for k in RECALLS_AT]
    return [*names, "median_rank"]


def summarise(ranks_SQ: np.ndarray, product_ranks_SQ: np.ndarray) -> np.ndarray:
    """The metrics (S x M, in the order of `metric_names`) of S samples of Q queries each."""
    recalls = [(ranks_SQ <= k).mean(axis=1) for k in RECALLS_AT]
    product_recalls = [(product_ranks_SQ <= k).mean(axis=1) for k in RECALLS_AT]
    return np.stack([*recalls, *product_recalls, np.median(ranks_SQ, axis=1)], axis=1)


def bootstrap(
    ranks_Q: np.ndarray, product_ranks_Q: np.ndarray, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """The metrics (S x M) of `samples` resamples of the queries, drawn with replacement."""
    found = []
    at_once = max(1, 2_000_000 // len(ranks_Q))
    for start in range(0, samples, at_once):
        size = (min(at_once, samples - start), len(ranks_Q))
        drawn_SQ = rng.integers(0, len(ranks_Q), size=size)
        found.append(summarise(ranks_Q[drawn_SQ], product_ranks_Q[drawn_SQ]))
    return np.concatenate(found)


def interval(samples_SM: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of each metric: its lower and its upper ends (M,)."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(samples_SM, [tail, 100 - tail], axis=0)
    return low, high
