"""Pair mining on hand-made vectors and attributes."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from facap.triplets.config import PairsConfig
from facap.triplets.pairing import Member, attribute_codes, mine_pairs, nearest

COLOURS = ("red", "blue", "green", "black", "white")


def unit(*degrees: float) -> np.ndarray:
    """Unit vectors (N, 2) at angles, so that the cosine of two is that of their difference."""
    return np.stack([[np.cos(a), np.sin(a)] for a in np.radians(degrees)]).astype(np.float32)


def member(
    image_id: str, product_id: str = "", split: str = "train", category: str = "top", **attributes: str
):
    return Member(image_id, product_id or "p-" + image_id, category, split, attributes)


def targets(members: list[Member], vectors: np.ndarray, **settings) -> dict[str, str]:
    config = PairsConfig(**{"choose": "nearest", "max_changes": 3, **settings})
    return {p.reference_id: p.target_id for p in mine_pairs(members, vectors, config)}


def test_the_most_similar_acceptable_neighbour_is_taken() -> None:
    members = [member("a", colour="red"), member("b", colour="blue"), member("c", colour="green")]
    assert targets(members, unit(0, 40, 20)) == {"a": "c", "b": "c", "c": "a"}  # c: a and b tie, a < b


def test_spread_takes_any_acceptable_neighbour_and_the_same_one_every_time() -> None:
    members = [member(f"m{i}", colour=f"c{i}") for i in range(12)]
    vectors = unit(*range(0, 24, 2))
    spread = targets(members, vectors, choose="spread", max_target_uses=12)
    assert spread == targets(members, vectors, choose="spread", max_target_uses=12)
    assert len(spread) == 12 and spread != targets(members, vectors, max_target_uses=12)


def test_similarity_is_the_cosine_and_rows_are_sorted() -> None:
    pairs = mine_pairs([member("b", colour="red"), member("a", colour="blue")], unit(0, 60), PairsConfig())
    assert [(p.reference_id, p.target_id, p.category, p.split) for p in pairs] == [
        ("a", "b", "top", "train"),
        ("b", "a", "top", "train"),
    ]
    assert pairs[0].similarity == pytest.approx(0.5, abs=1e-6)


def test_band_leaves_out_the_too_close_and_the_too_far() -> None:
    members = [member("a", colour="red"), member("b", colour="blue"), member("c", colour="green")]
    vectors = unit(0, 5, 30)  # cosines of 0.996 and 0.866 from the first
    assert targets(members, vectors, max_similarity=1)["a"] == "b"
    assert targets(members, vectors, max_similarity=0.99)["a"] == "c"
    assert targets(members, vectors, min_similarity=0.99, max_similarity=1) == {"a": "b", "b": "a"}


def test_changes_are_counted_and_silence_is_a_value() -> None:
    base = {"colour": "red", "fit": "loose", "length": "long", "sleeve": "short"}
    members = [
        member("a", **base),
        member("b", **base),  # nothing changes
        member("c", colour="blue", fit="fitted", length="mini", sleeve="long"),  # four changes
        member("d", **{k: v for k, v in base.items() if k != "sleeve"}),  # one: the sleeve is not mentioned
    ]
    vectors = unit(0, 6, 12, 40)
    assert targets(members, vectors)["a"] == "d"
    assert "c" not in targets(members, vectors)
    assert targets(members, vectors, max_changes=4)["a"] == "c"
    assert targets(members, vectors, min_changes=0)["a"] == "b"


def test_views_of_one_product_are_no_pair() -> None:
    views = [member("a", "p", colour="red"), member("b", "p", colour="blue")]
    assert targets(views, unit(0, 20)) == {}


@pytest.mark.parametrize("change", [{"split": "test"}, {"category": "dress"}])
def test_pairs_stay_in_one_split_and_one_category(change: dict) -> None:
    assert targets([member("a", colour="red"), member("b", colour="blue", **change)], unit(0, 20)) == {}


def test_a_target_is_used_at_most_so_often_and_the_least_choice_goes_first() -> None:
    # d can only go to t; the others have one another too, so they must not use t up
    members = [
        member("a", colour="red", fit="loose"),
        member("b", colour="blue", fit="loose"),
        member("d", colour="black", fit="slim", length="mini", sleeve="long"),
        member("t", colour="green", fit="loose", length="mini"),
    ]
    vectors = unit(8, 12, 0, 10)
    found = targets(members, vectors, max_target_uses=1)
    assert found["d"] == "t"
    assert Counter(found.values()).most_common(1)[0][1] == 1
    uses = Counter(targets(members, vectors, max_target_uses=2).values())
    assert max(uses.values()) <= 2


def test_pool_bounds_the_neighbours() -> None:
    members = [member("a", "p", colour="red"), member("b", "p", colour="red"), member("c", colour="blue")]
    assert targets(members, unit(0, 5, 20), pool=1).get("a") is None  # its one neighbour is its other view
    assert targets(members, unit(0, 5, 20), pool=2)["a"] == "c"


def test_lone_and_missing_images() -> None:
    assert mine_pairs([], np.zeros((0, 2), np.float32), PairsConfig()) == []
    assert targets([member("a", colour="red")], unit(0)) == {}
    assert targets([member("a"), member("b")], unit(0, 20)) == {}  # no attributes: no change to name


def test_faiss_neighbours_are_exact() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity, rows = nearest(vectors, 10)
    exact = np.sort(vectors @ vectors.T, axis=1)[:, ::-1][:, :11]
    np.testing.assert_allclose(similarity, exact, atol=1e-5)
    assert (rows[:, 0] == np.arange(200)).all()


def test_attribute_codes() -> None:
    codes = attribute_codes([{"a": "x", "b": "y"}, {"a": "x"}, {"b": "y", "c": "z"}])
    assert codes.tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 1]]


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_similarity should not exceed max_similarity"):
        PairsConfig(min_similarity=0.9, max_similarity=0.5)
    with pytest.raises(ValidationError, match="min_changes should not exceed max_changes"):
        PairsConfig(min_changes=5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 40))
def test_what_holds_for_any_catalogue(seed: int, uses: int, size: int) -> None:
    rng = random.Random(seed)
    members = [
        member(
            f"i{n:03}",
            f"p{n // 2}",
            split=("train", "test")[n // 2 % 2],
            category=("top", "dress")[n // 4 % 2],
            colour=rng.choice(COLOURS),
            fit=rng.choice(("loose", "fitted")),
        )
        for n in range(size)
    ]
    vectors = unit(*(rng.choice(range(0, 90, 3)) for _ in members))
    config = PairsConfig(max_target_uses=uses, max_changes=1, min_similarity=0.5)
    pairs = mine_pairs(members, vectors, config)
    by_id = {m.image_id: (m, v) for m, v in zip(members, vectors, strict=True)}
    assert len({p.reference_id for p in pairs}) == len(pairs)
    assert max(Counter(p.target_id for p in pairs).values(), default=0) <= uses
    for pair in pairs:
        (reference, u), (target, v) = by_id[pair.reference_id], by_id[pair.target_id]
        assert reference.product_id != target.product_id
        assert (reference.split, reference.category) == (target.split, target.category)
        assert sum(reference.attributes[k] != target.attributes[k] for k in ("colour", "fit")) == 1
        assert 0.5 - 1e-6 <= pair.similarity <= 0.995 and abs(pair.similarity - u @ v) < 1e-5
    order = list(range(size))
    rng.shuffle(order)
    assert mine_pairs([members[i] for i in order], vectors[order], config) == pairs
