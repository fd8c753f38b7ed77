"""The promotion gate: what it lets through and what it refuses."""

import numpy as np
import pytest

from facap.errors import DatasetMissing
from facap.registry.config import RegistryConfig
from facap.registry.gate import Decision, Model, decide, gain_over
from facap.registry.pipeline import first_protocol, models
from facap.schemas import RANKS, from_rows

QUERIES = 200


def model(name: str, *shares: float, seed: int | None = None, **more: object) -> Model:
    """Finds the target of these shares of QUERIES in each category: the first ones, or a seed's choice."""
    ranks = {}
    for number, share in enumerate(shares):
        hits = np.arange(QUERIES) < round(share * QUERIES)
        if seed is not None:
            np.random.default_rng([seed, number]).shuffle(hits)
        ranks |= {(f"c{number}", f"q{i:03}"): 1 if hit else 11 for i, hit in enumerate(hits)}
    return Model(name, ranks, **more)  # type: ignore[arg-type]


def judged(challenger: Model, champion: Model | None = None, **settings: object) -> Decision:
    return decide(challenger, model("baseline/sum", 0.4, 0.4), champion, RegistryConfig(**settings))  # type: ignore[arg-type]


def test_it_must_beat_the_best_baseline_beyond_the_interval() -> None:
    assert judged(model("m", 0.6, 0.6)).promote
    for recall in (0.4, 0.3):
        decision = judged(model("m", recall, recall))
        assert not decision.promote and "more than +0.0 required, beyond it" in decision.reasons[0]
    assert judged(model("m", 0.6, 0.6), min_gain=20).promote
    assert not judged(model("m", 0.6, 0.6), min_gain=20.1).promote
    worse = judged(model("m", 0.39, 0.39), min_gain=-2)
    assert worse.promote and worse.numbers["gain_points"] == pytest.approx(-1)


def test_the_gain_is_paired_and_its_interval_that_of_the_difference() -> None:
    """Models that find the same queries differ for sure; models that find others may do so by chance."""
    better, same = model("m", 0.55, 0.55), model("o", 0.5, 0.5)
    nested = gain_over(better, same)
    assert nested.points == pytest.approx(5) and nested.low > 0
    crossed = gain_over(model("m", 0.55, 0.55, seed=1), model("o", 0.5, 0.5, seed=2))
    assert crossed.points == pytest.approx(5) and crossed.low < 0 < crossed.high
    differences = [
        100 * (model("m", 0.55, 0.55, seed=1).hits()[c] - model("o", 0.5, 0.5, seed=2).hits()[c])
        for c in ("c0", "c1")
    ]
    deviation = np.sqrt(sum(d.var() / len(d) for d in differences)) / 2  # of a mean of two means
    assert crossed.high - crossed.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_a_worse_one_and_a_lucky_one_do_not_replace_the_champion() -> None:
    champion = model("champion v1", 0.6, 0.6, seed=2)
    worse = judged(model("m", 0.55, 0.55), champion)
    assert not worse.promote and "-5.0 points" in worse.reasons[1]
    lucky = judged(model("m", 0.62, 0.62, seed=1), champion)
    assert not lucky.promote and lucky.numbers["lead_points"] == pytest.approx(2)
    assert lucky.numbers["lead_low"] < 0 and "required, beyond it" in lucky.reasons[1]
    assert judged(model("m", 0.62, 0.62, seed=1), champion, min_lead=-1).promote
    assert judged(model("m", 0.8, 0.8, seed=1), champion).promote
    equal = judged(model("m", 0.6, 0.6, seed=2), champion)
    assert not equal.promote and equal.numbers["lead_points"] == 0


def test_no_category_may_fall_far_behind() -> None:
    champion = model("champion v1", 0.6, 0.6)
    decision = judged(model("m", 0.9, 0.5), champion)
    assert not decision.promote
    assert "c1 falls by 10.0 points, max_category_loss is 5" in decision.reasons[-1]
    assert judged(model("m", 0.9, 0.5), champion, max_category_loss=10).promote


@pytest.mark.parametrize(
    ("more", "settings", "reason"),
    [
        ({"leaked": 3}, {}, "3 queries show pictures or products that it was trained on"),
        ({"altered": ("model.safetensors",)}, {}, "model.safetensors changed after the training"),
        ({"size_mib": 20.0}, {"max_size_mib": 10}, "its files have 20.0 MiB, max_size_mib is 10"),
        ({"latency_ms": 20.0}, {"max_latency_ms": 15}, "a query takes 20.0 ms, max_latency_ms is 15"),
    ],
)
def test_what_it_has_to_be_besides(more: dict, settings: dict, reason: str) -> None:
    for champion in (None, model("champion v1", 0.3, 0.3)):
        decision = judged(model("m", 0.9, 0.9, **more), champion, **settings)
        assert not decision.promote and reason in decision.reasons
    if settings:
        assert judged(model("m", 0.9, 0.9, **more)).promote  # without the budget


@pytest.mark.parametrize(("policy", "promoted"), [("replace", True), ("keep", False)])
def test_a_champion_that_answered_other_queries_does_not_compare(policy: str, promoted: bool) -> None:
    champion = Model("champion v1", {("c0", "another"): 1})
    decision = judged(model("m", 0.6, 0.6), champion, unmeasured_champion=policy)
    assert decision.promote is promoted and "does not compare" in decision.reasons[1]
    assert not judged(model("m", 0.3, 0.3), champion, unmeasured_champion=policy).promote


def rows(version: str, rank: int, benchmark: str = "a", protocol: str = "p") -> list[dict]:
    shared = {"model_version": version, "benchmark": benchmark, "protocol": protocol, "category": "dress"}
    return [shared | {"query": q, "reference_id": "r", "target_id": "t", "rank": rank} for q in ("q1", "q2")]


def test_the_model_and_the_best_baseline_are_read_from_ranks() -> None:
    table = rows("fashionblip2@m", 2) + rows("baseline/sum@b", 30) + rows("baseline/image_only@b", 4)
    others = rows("baseline/text_only@b", 1, benchmark="b") + rows("fashionblip2@m", 99, protocol="q")
    ranks = first_protocol(from_rows(table + others, RANKS))
    trained, best = models(ranks, "m")
    assert trained == Model("fashionblip2@m", {("dress", "q1"): 2, ("dress", "q2"): 2})
    assert best.name == "baseline/image_only@b" and best.recall() == 1
    with pytest.raises(DatasetMissing, match="should be of model other"):
        models(ranks, "other")
    with pytest.raises(DatasetMissing, match="run the evaluation again"):
        models(from_rows(rows("fashionblip2@m", 2), RANKS), "m")
