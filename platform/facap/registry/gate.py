"""The promotion gate: a pure decision from what models found for the same frozen queries.

A challenger must beat the best baseline, and the champion where that one answered the same queries, by more
than the chance of which queries were asked: the interval of a paired bootstrap. No category may fall far
behind, its training must not have shown what it is asked about, and it has to fit its budgets.

    >>> evidence = {("dress", f"q{i}"): 1 for i in range(100)}
    >>> nothing = {query: 50 for query in evidence}
    >>> decide(Model("v2", evidence), Model("baseline/sum", nothing), None, RegistryConfig()).promote
    True
    >>> decide(Model("v2", nothing), Model("baseline/sum", nothing), None, RegistryConfig()).reasons
    ['R@10 0.0% is +0.0 points [+0.0, +0.0] against baseline/sum at 0.0%; more than +0.0 required, beyond it']
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from facap.registry.config import RegistryConfig

EPSILON = 1e-9  # shares are ratios of counts: a smaller difference is rounding
AT = 10
RESAMPLES = 2000
TAILS = (2.5, 97.5)  # percentiles of a 95 % interval
Query = tuple[str, str]  # category, and what names the query in it


@dataclass(frozen=True)
class Model:
    """What one model found: the target's rank for each query; and what else a challenger is judged by."""

    name: str
    ranks: Mapping[Query, int]
    leaked: int = 0  # queries that show pictures, or products, of its training
    altered: tuple[str, ...] = ()  # files that are not those that were trained
    size_mib: float = 0.0
    latency_ms: float = 0.0  # of one query

    def recall(self) -> float:
        """R@10, the mean over the categories, 0 to 1."""
        return float(np.mean([hits.mean() for hits in self.hits().values()])) if self.ranks else 0.0

    def hits(self) -> dict[str, np.ndarray]:
        """category -> 0 or 1 of each query, queries and categories in alphabetical order."""
        found: dict[str, list[float]] = {}
        for category, query in sorted(self.ranks):
            found.setdefault(category, []).append(self.ranks[category, query] <= AT)
        return {category: np.array(values, dtype=float) for category, values in found.items()}


@dataclass(frozen=True)
class Decision:
    """Whether to promote, why, and the numbers that decided."""

    promote: bool
    reasons: list[str]
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Gain:
    """Percentage points of R@10 over another model on the same queries."""

    points: float
    low: float
    high: float
    by_category: dict[str, float]

    def said(self, other: Model) -> str:
        """In words."""
        around = f"[{self.low:+.1f}, {self.high:+.1f}]"
        return f"{self.points:+.1f} points {around} against {other.name} at {other.recall():.1%}"


def gain_over(model: Model, other: Model, seed: int = 0) -> Gain:
    """The paired difference; both must have answered the same queries."""
    assert model.ranks.keys() == other.ranks.keys(), (model.name, other.name)
    mine, theirs = model.hits(), other.hits()
    rng = np.random.default_rng(seed)
    values, drawn = {}, []
    for category, hits_Q in mine.items():
        difference_Q = 100 * (hits_Q - theirs[category])
        values[category] = float(difference_Q.mean())
        places = rng.integers(0, len(difference_Q), (RESAMPLES, len(difference_Q)))
        drawn.append(difference_Q[places].mean(axis=1))
    low, high = np.percentile(np.mean(drawn, axis=0), TAILS)
    return Gain(float(np.mean(list(values.values()))), float(low), float(high), values)


def decide(
    challenger: Model, best_baseline: Model, champion: Model | None, config: RegistryConfig
) -> Decision:
    """Judges `challenger`; `champion` is None if there is none, or if it is the challenger itself."""
    gain = gain_over(challenger, best_baseline)
    numbers = {
        "challenger": challenger.recall(),
        "best_baseline": best_baseline.recall(),
        "gain_points": round(gain.points, 3),
        "gain_low": round(gain.low, 3),
    }
    enough = _enough(gain, config.min_gain)
    reason = f"R@10 {challenger.recall():.1%} is {gain.said(best_baseline)}"
    reasons = [reason if enough else f"{reason}; {_required(config.min_gain)}"]
    passed = [enough, *_fit(challenger, config, reasons, numbers)]
    if champion is not None:
        passed.append(_replaces(challenger, champion, config, reasons, numbers))
    return Decision(all(passed), reasons, numbers)


def _enough(gain: Gain, least: float) -> bool:
    """At least so many points and, unless a loss is put up with, more than chance."""
    return gain.points >= least - EPSILON and (least < 0 or gain.low > EPSILON)


def _required(least: float) -> str:
    if least < 0:
        return f"at least {least:+.1f} required"
    return f"{f'at least {least:+.1f}' if least else 'more than +0.0'} required, beyond it"


def _fit(
    challenger: Model, config: RegistryConfig, reasons: list[str], numbers: dict[str, float]
) -> list[bool]:
    """What a challenger has to be, whoever else there is; says what it is not."""
    numbers |= {"size_mib": round(challenger.size_mib, 3), "latency_ms": round(challenger.latency_ms, 3)}
    faults = []
    if challenger.altered:
        faults.append(f"{', '.join(challenger.altered)} changed after the training")
    if challenger.leaked:
        numbers["leaked"] = challenger.leaked
        faults.append(f"{challenger.leaked} queries show pictures or products that it was trained on")
    if config.max_size_mib and challenger.size_mib > config.max_size_mib:
        faults.append(
            f"its files have {challenger.size_mib:.1f} MiB, max_size_mib is {config.max_size_mib:g}"
        )
    if config.max_latency_ms and challenger.latency_ms > config.max_latency_ms:
        faults.append(
            f"a query takes {challenger.latency_ms:.1f} ms, max_latency_ms is {config.max_latency_ms:g}"
        )
    reasons += faults
    return [not faults]


def _replaces(
    challenger: Model,
    champion: Model,
    config: RegistryConfig,
    reasons: list[str],
    numbers: dict[str, float],
) -> bool:
    """Whether it takes the champion's place."""
    if champion.ranks.keys() != challenger.ranks.keys():
        reasons.append(
            f"the champion, {champion.name}, answered other queries and does not compare; "
            f"unmeasured_champion says {config.unmeasured_champion}"
        )
        return config.unmeasured_champion == "replace"
    lead = gain_over(challenger, champion)
    numbers |= {"champion": champion.recall(), "lead_points": round(lead.points, 3)}
    numbers |= {"lead_low": round(lead.low, 3)}
    enough = _enough(lead, config.min_lead)
    reasons.append(lead.said(champion) + ("" if enough else f"; {_required(config.min_lead)}"))
    behind = {c: p for c, p in lead.by_category.items() if p < -config.max_category_loss - EPSILON}
    for category, points in behind.items():
        reasons.append(
            f"{category} falls by {-points:.1f} points, max_category_loss is {config.max_category_loss:g}"
        )
    return enough and not behind
