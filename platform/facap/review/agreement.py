"""How far a score agrees with people's marks: precision by bucket, AUROC, kappa, with intervals.

    >>> good = np.array([True, True, False, True, False, False])
    >>> score = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
    >>> round(auroc(score, good), 3), best_threshold(score, good)
    (0.889, 0.6)
    >>> [round(end, 2) for end in wilson(9, 10, 0.95)]
    [0.6, 0.98]

Kappa is Cohen's: agreement beyond chance, 1 for all, 0 for chance. The threshold is the one that agrees best
with these very marks, so its figures are a little better than those of new marks would be; intervals are of
the marks drawn anew (bootstrap) at that threshold, and Wilson's for shares. Shapes: N marks, S resamples.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

Statistic = Callable[[np.ndarray], float]
"""Rows (of N, with repeats) -> a number; not a number where they leave it undefined."""


def wilson(hits: float, total: float, confidence: float) -> tuple[float, float]:
    """Wilson's interval of the share `hits` / `total`, where total is not 0."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, weight = hits / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def auroc(score_N: np.ndarray, good_N: np.ndarray) -> float:
    """Probability that a good one scores above a bad one, ties half; nan if there is but one kind."""
    num_good, num_bad = int(good_N.sum()), int((~good_N).sum())
    if not num_good or not num_bad:
        return math.nan
    _, level_N, size = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(size) - (size - 1) / 2)[level_N]  # from 1; those that tie share the mean
    return float((rank_N[good_N].sum() - num_good * (num_good + 1) / 2) / (num_good * num_bad))


def kappa(one_N: np.ndarray, other_N: np.ndarray) -> float:
    """Cohen's kappa of two yes-no judgements; nan if both say the same throughout."""
    agree = float((one_N == other_N).mean())
    yes_one, yes_other = float(one_N.mean()), float(other_N.mean())
    chance = yes_one * yes_other + (1 - yes_one) * (1 - yes_other)
    return math.nan if chance > 1 - 1e-12 else (agree - chance) / (1 - chance)


def best_threshold(score_N: np.ndarray, good_N: np.ndarray) -> float:
    """The score from which calling a triplet good has the greatest kappa, then accuracy; the lowest such."""

    def worth(threshold: float) -> tuple[float, float]:
        called_N = score_N >= threshold
        found = kappa(called_N, good_N)
        return (0.0 if math.isnan(found) else found, float((called_N == good_N).mean()))

    return max((float(value) for value in np.unique(score_N)), key=worth)


def interval(
    statistic: Statistic, num_marks: int, num_resamples: int, confidence: float, seed: int = 0
) -> tuple[float, float] | None:
    """The percentile interval of `statistic` over marks drawn anew; None if it is seldom defined."""
    rng = np.random.default_rng(seed)
    found = [statistic(rng.integers(0, num_marks, num_marks)) for _ in range(num_resamples)]
    defined = [value for value in found if not math.isnan(value)]
    if 2 * len(defined) < num_resamples:
        return None
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def weighted_share(good_N: np.ndarray, weight_N: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """The share of good ones where each stands for `weight` triplets; Wilson's interval for as many marks as
    unequal weights leave (Kish's effective size, (sum w)^2 / sum w^2)."""
    share = float((good_N * weight_N).sum() / weight_N.sum())
    size = float(weight_N.sum() ** 2 / (weight_N**2).sum())
    return share, *wilson(share * size, size, confidence)


def stratum_weights(stratum_N: np.ndarray, population: dict[int, int]) -> np.ndarray:
    """How many triplets each mark stands for: those of its stratum, shared by its marks."""
    marked = dict(zip(*np.unique(stratum_N, return_counts=True), strict=True))
    return np.array([population[int(stratum)] / marked[stratum] for stratum in stratum_N])
