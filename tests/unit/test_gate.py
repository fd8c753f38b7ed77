"""The promotion gate."""

import pytest

from facap.errors import DatasetMissing
from facap.registry.config import RegistryConfig
from facap.registry.gate import Score, decide
from facap.registry.pipeline import scores
from facap.schemas import METRICS, from_rows

BASELINE = Score("baseline/sum@b", 0.40, "data1")


def challenger(recall: float, data: str = "data1") -> Score:
    return Score("fashionblip2@m", recall, data)


@pytest.mark.parametrize(
    ("recall", "min_gain", "promoted"),
    [
        (0.55, 0, True),
        (0.40, 0, False),
        (0.39, 0, False),
        (0.55, 15, True),
        (0.54, 15, False),
        (0.4001, 0, True),
    ],
)
def test_it_must_beat_the_best_baseline(recall: float, min_gain: float, promoted: bool) -> None:
    decision = decide(challenger(recall), BASELINE, None, RegistryConfig(min_gain=min_gain))
    assert decision.promote is promoted
    assert decision.numbers["gain_points"] == pytest.approx(100 * (recall - 0.40))
    assert ("required" in decision.reasons[0]) is not promoted


@pytest.mark.parametrize(("champion", "promoted"), [(0.50, True), (0.60, True), (0.61, False)])
def test_it_must_not_be_worse_than_the_champion_on_the_same_data(champion: float, promoted: bool) -> None:
    decision = decide(challenger(0.60), BASELINE, Score("champion v1", champion, "data1"), RegistryConfig())
    assert decision.promote is promoted
    assert ("worse than the champion" in decision.reasons[1]) is not promoted


@pytest.mark.parametrize(("policy", "promoted"), [("replace", True), ("keep", False)])
def test_a_champion_measured_on_other_data_does_not_compare(policy: str, promoted: bool) -> None:
    champion = Score("champion v1", 0.99, "data0")
    decision = decide(challenger(0.60), BASELINE, champion, RegistryConfig(unmeasured_champion=policy))
    assert decision.promote is promoted and "does not compare" in decision.reasons[1]
    assert not decide(
        challenger(0.30), BASELINE, champion, RegistryConfig(unmeasured_champion=policy)
    ).promote


def row(version: str, value: float, category: str = "all", metric: str = "recall@10") -> dict:
    return {
        "model_version": version,
        "benchmark": "b",
        "protocol": "p",
        "category": category,
        "metric": metric,
        "value": value,
        "num_queries": 1,
        "gallery_size": 1,
        "coverage": 1.0,
    }


def test_the_headline_and_the_best_baseline_are_read_from_metrics() -> None:
    rows = [row("fashionblip2@m", 0.6), row("baseline/sum@b", 0.3), row("baseline/image_only@b", 0.4)]
    rows += [
        row("baseline/text_only@b", 0.9, category="top"),
        row("baseline/text_only@b", 0.9, metric="recall@50"),
    ]
    model, best = scores(from_rows(rows, METRICS), "m", "d")
    assert (model, best) == (Score("fashionblip2@m", 0.6, "d"), Score("baseline/image_only@b", 0.4, "d"))
    with pytest.raises(DatasetMissing, match="should score model other"):
        scores(from_rows(rows, METRICS), "other", "d")
    with pytest.raises(DatasetMissing, match="run the evaluation again"):
        scores(from_rows(rows[:1], METRICS), "m", "d")
