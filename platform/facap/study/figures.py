"""Hits of every training -> means, intervals, differences and verdicts.

A mean is over seeds and queries; its interval is a bootstrap over the queries of the mean over the seeds.
Differences are paired, query by query. A claim is confirmed if its whole interval is above zero, not
confirmed if it is below, and unclear at this size otherwise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from facap.study.variants import BASELINES, CHAMPION, CLAIMS, VARIANTS

RESAMPLES = 2000
TAILS = (2.5, 97.5)
Runs = Mapping[str, Sequence[Mapping[str, list[int]]]]  # variant -> its seeds' hits by texts


def figures_of(runs: Runs, oracle: Mapping[str, list[int]]) -> dict[str, Any]:
    """Rows of the table, claims and headline figures of the variants that were trained."""
    mean_Q = {
        (name, texts): np.mean([run[texts] for run in seeds], axis=0)
        for name, seeds in runs.items()
        for texts in oracle
    }
    rows = [
        {
            "variant": name,
            "what": VARIANTS[name].what,
            "group": VARIANTS[name].group,
            **{
                texts: {
                    "mean": _round(mean_Q[name, texts].mean()),
                    "interval": interval(mean_Q[name, texts]),
                    "seeds": [_round(np.mean(run[texts])) for run in seeds],
                }
                for texts in oracle
            },
        }
        for name, seeds in runs.items()
    ]
    claims = []
    for claim in CLAIMS:
        if claim.better in runs and claim.worse in runs:
            gain_Q = mean_Q[claim.better, claim.texts] - mean_Q[claim.worse, claim.texts]
            low, high = interval(gain_Q)
            claims.append(
                {
                    "claim": claim.said,
                    "better": claim.better,
                    "worse": claim.worse,
                    "texts": claim.texts,
                    "gain": _round(gain_Q.mean()),
                    "interval": [low, high],
                    "verdict": "confirmed"
                    if low > 0
                    else "not confirmed"
                    if high < 0
                    else "unclear at this size",
                }
            )
    figures: dict[str, Any] = {"rows": rows, "claims": claims}
    figures |= {f"r10_oracle{_ending(texts)}": _round(np.mean(hits)) for texts, hits in oracle.items()}
    if CHAMPION in runs:
        figures["r10_champion"] = _round(mean_Q[CHAMPION, "fine"].mean())
    tried = [name for name in BASELINES if name in runs]
    if tried:
        best = max(tried, key=lambda name: mean_Q[name, "fine"].mean())
        figures |= {"best_baseline": best, "r10_best_baseline": _round(mean_Q[best, "fine"].mean())}
    return figures


def interval(values_Q: np.ndarray) -> list[float]:
    """The 95 % interval of the mean, by resampling the queries; the same ones for as many queries."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(values_Q), (RESAMPLES, len(values_Q)))
    return [_round(value) for value in np.percentile(values_Q[drawn].mean(axis=1), TAILS)]


def _round(value: float | np.floating) -> float:
    return round(float(value), 4)


def _ending(texts: str) -> str:
    return "" if texts == "fine" else f"_{texts}"
