"""Splits: a stable hash of the product."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.schemas import SPLITS
from facap.splits import TEST_SHARE, VAL_SHARE, split_of


def test_splits_never_move() -> None:
    # A benchmark is its split: these hold on every machine and in every later version.
    found = [split_of(f"p{i}") for i in range(60)]
    assert [i for i, split in enumerate(found) if split == "test"] == [
        17,
        22,
        23,
        32,
        34,
        35,
        37,
        38,
        39,
        42,
        46,
        48,
        50,
        59,
    ]
    assert [i for i, split in enumerate(found) if split == "val"] == [7, 36, 58]
    assert set(found) == set(SPLITS)


def test_shares_of_products() -> None:
    counts = Counter(split_of(f"product-{i}") for i in range(20_000))
    assert counts["val"] / 20_000 == pytest.approx(VAL_SHARE, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(TEST_SHARE, abs=0.01)
    assert sum(counts.values()) == 20_000


@given(st.text(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_every_product_has_one_split_and_growing_test_only_adds(
    product: str, val: float, test: float
) -> None:
    first = split_of(product, val, test)
    assert first in SPLITS
    assert first == split_of(product, val, test)
    if first == "test":
        assert split_of(product, val, min(1.0, test + 0.1)) == "test"


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 3)), max_size=50))
def test_views_of_a_product_never_straddle(images: list[tuple[str, int]]) -> None:
    splits: dict[str, set[str]] = {}
    for product, _view in images:
        splits.setdefault(product, set()).add(split_of(product))
    assert all(len(found) == 1 for found in splits.values())
