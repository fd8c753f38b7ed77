"""The attribute vocabulary and the sampling of catalogues."""

import random

import pytest

from facap.catalog.garments import (
    ATTRIBUTES,
    NONE,
    Garment,
    applicable,
    changes,
    contrasting,
    differences,
    sample_catalogue,
    sample_garment,
    sample_variant,
    values,
)


def test_catalogue_is_seeded_distinct_and_a_prefix_of_a_longer_one() -> None:
    catalogue = sample_catalogue(300, seed=3)
    assert catalogue == sample_catalogue(400, seed=3)[:300]
    assert catalogue != sample_catalogue(300, seed=4)
    assert len(set(catalogue)) == 300


def test_every_value_of_every_attribute_is_sampled() -> None:
    catalogue = sample_catalogue(2000, seed=0)
    for attribute, all_values in ATTRIBUTES.items():
        assert {getattr(garment, attribute) for garment in catalogue} == set(all_values)


def test_most_products_have_a_close_relative() -> None:
    catalogue = sample_catalogue(200, seed=5)
    close = sum(
        any(len(differences(a, b)) <= 3 and a.category == b.category for b in catalogue[:i])
        for i, a in enumerate(catalogue)
    )
    assert 0.5 < close / len(catalogue) < 0.75


def test_variants_change_one_to_three_attributes_and_never_the_category() -> None:
    rng = random.Random(1)
    for _ in range(300):
        garment = sample_garment(rng)
        changed = differences(garment, sample_variant(rng, garment))
        assert 1 <= len(changed) <= 3 and "category" not in changed


def test_attributes_that_do_not_apply_are_none() -> None:
    rng = random.Random(2)
    for _ in range(300):
        garment = sample_garment(rng)
        for attribute in set(ATTRIBUTES) - set(applicable(garment.category)):
            assert getattr(garment, attribute) == NONE
        if garment.second_colour != NONE:
            assert garment.second_colour in contrasting(garment.colour)


def test_contrast_is_mutual_and_leaves_a_choice() -> None:
    for colour in ATTRIBUTES["colour"]:
        assert len(contrasting(colour)) >= 5
        assert all(colour in contrasting(other) for other in contrasting(colour))


def test_impossible_garments_are_refused() -> None:
    plain = {"category": "skirt", "colour": "red", "pattern": "solid", "material": "satin",
             "fit": "flared", "length": "maxi"}  # fmt: skip
    Garment(**plain)
    with pytest.raises(ValueError, match="sleeve"):
        Garment(**plain, sleeve="long")
    with pytest.raises(ValueError, match="second_colour"):
        Garment(**plain, second_colour="white")
    with pytest.raises(ValueError, match="hat"):
        Garment(**plain | {"category": "hat"})


def test_changes_leave_out_what_the_target_cannot_have() -> None:
    rng = random.Random(3)
    top, skirt = sample_garment(rng, "top"), sample_garment(rng, "skirt")
    assert changes(top, skirt)["category"] == "skirt"
    assert "sleeve" not in changes(top, skirt) and "sleeve" in changes(skirt, top)
    assert values("skirt", "sleeve") == (NONE,)
