"""The promotion gate: a pure decision from measured numbers.

A challenger must beat the best baseline's R@10, and must not be worse than the champion where the
two were measured on the same data.

    >>> decide(Score("v2", 0.61, "d1"), Score("baseline/sum", 0.40, "d1"), None, RegistryConfig()).promote
    True
    >>> decide(Score("v2", 0.40, "d1"), Score("baseline/sum", 0.40, "d1"), None, RegistryConfig()).reasons
    ['R@10 40.0% is +0.0 points against baseline/sum at 40.0%; more than +0.0 are required']
"""

from dataclasses import dataclass

from facap.registry.config import RegistryConfig

EPSILON = 1e-9  # shares are ratios of counts: a smaller difference is rounding


@dataclass(frozen=True)
class Score:
    """One measured R@10 (a share, 0 to 1) and the fingerprint of the data it was measured on."""

    name: str
    recall_at_10: float
    data: str


@dataclass(frozen=True)
class Decision:
    """Whether to promote, why, and the numbers that decided."""

    promote: bool
    reasons: list[str]
    numbers: dict[str, float]


def decide(
    challenger: Score, best_baseline: Score, champion: Score | None, config: RegistryConfig
) -> Decision:
    """Judges `challenger`; `champion` is None if there is none, or if it is the challenger itself.

    Challenger and baseline must have been measured on the same data.
    """
    assert challenger.data == best_baseline.data, (challenger, best_baseline)
    gain = 100 * (challenger.recall_at_10 - best_baseline.recall_at_10)
    numbers = {
        "challenger": challenger.recall_at_10,
        "best_baseline": best_baseline.recall_at_10,
        "gain_points": round(gain, 3),
    }
    enough = gain >= config.min_gain - EPSILON and (gain > EPSILON or config.min_gain < 0)
    required = f"at least {config.min_gain:+.1f}" if config.min_gain else "more than +0.0"
    reason = f"R@10 {challenger.recall_at_10:.1%} is {_against(gain, best_baseline)}"
    reasons = [reason if enough else f"{reason}; {required} are required"]
    if champion is None:
        return Decision(enough, reasons, numbers)
    numbers["champion"] = champion.recall_at_10
    if champion.data != challenger.data:
        keep = config.unmeasured_champion == "keep"
        reasons.append(
            f"the champion, {champion.name}, was measured on other data and does not compare; "
            f"unmeasured_champion says {config.unmeasured_champion}"
        )
        return Decision(enough and not keep, reasons, numbers)
    lead = 100 * (challenger.recall_at_10 - champion.recall_at_10)
    numbers["lead_points"] = round(lead, 3)
    worse = lead < -EPSILON
    reasons.append(f"{_against(lead, champion)}{', so it is worse than the champion' if worse else ''}")
    return Decision(enough and not worse, reasons, numbers)


def _against(points: float, other: Score) -> str:
    return f"{points:+.1f} points against {other.name} at {other.recall_at_10:.1%}"
