"""Captions and modification texts, and reading them back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.catalog.garments import (
    ATTRIBUTES,
    NONE,
    Garment,
    changes,
    sample_garment,
    sample_variant,
)
from facap.catalog.wording import (
    STYLES,
    WORDS,
    caption,
    caption_claims,
    modification,
    modification_claims,
    replaced,
)

seeds = st.integers(min_value=0, max_value=2**40)


@given(seeds)
def test_a_caption_reads_back_as_the_garment(seed: int) -> None:
    garment = sample_garment(random.Random(seed))
    stated = {name: value for name, value in garment.attributes().items() if value != NONE}
    text = caption(garment)
    assert caption_claims(text) == stated
    assert 12 <= len(text.split()) <= 35
    assert text == text.lower() and not any(char.isdigit() for char in text)


@given(seeds, st.sampled_from(STYLES), st.booleans())
def test_a_modification_reads_back_as_the_changes(seed: int, style: str, related: bool) -> None:
    rng = random.Random(seed)
    reference = sample_garment(rng)
    target = sample_variant(rng, reference) if related else sample_garment(rng)
    text = modification(reference, target, style)
    changed = changes(reference, target)
    assert modification_claims(text) == changed, text
    old = replaced(text)
    assert old == {name: getattr(reference, name) for name in old}, text
    if style != "want":
        present = {name for name in changed if getattr(reference, name) not in (NONE, "sleeveless")}
        assert old.keys() == present, text


@given(st.one_of(st.text(), st.lists(st.sampled_from(
    [word for words in WORDS.values() for phrase in words.values() for word in phrase.split()]
)).map(" ".join)))  # fmt: skip
def test_any_text_can_be_read(text: str) -> None:
    for claims in (caption_claims(text), modification_claims(text)):
        for attribute, value in claims.items():
            assert value in (*ATTRIBUTES[attribute], NONE)


DRESS = Garment("dress", "navy", "striped", "cotton", "flared", "knee", "white", NONE,
                "long", "v-neck", "belt", "bow")  # fmt: skip


def test_a_caption_in_full() -> None:
    assert caption(DRESS) == (
        "a navy and white striped cotton dress with long sleeves, a v-neck, a flared shape "
        "and a knee length, fastened with a belt and finished with a bow"
    )


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("navy blue skirt", {"category": "skirt", "colour": "navy"}),
        ("a red and", {"colour": "red"}),
        ("sleeves, a v-neck , a flared", {"neckline": "v-neck"}),
        ("the bluest redwood stop", {}),
        ("an outfit of a top and pants", {"category": "outfit", "bottom": "pants"}),
        ("", {}),
    ],
)
def test_broken_captions_give_what_is_there(text: str, claims: dict[str, str]) -> None:
    assert caption_claims(text) == claims


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("Make it navy, use white accents", {"colour": "navy", "second_colour": "white"}),
        ("without a belt and sleeveless", {"sleeve": "sleeveless", "closure": "none"}),
        ("remove the patch pockets", {"detail": "none"}),
        ("keep it as it is", {}),
    ],
)
def test_modifications_in_other_words(text: str, claims: dict[str, str]) -> None:
    assert modification_claims(text) == claims


def test_a_modification_in_full() -> None:
    target = Garment("dress", "red", "striped", "cotton", "flared", "knee", "white", NONE,
                     "short", "v-neck", NONE, "bow")  # fmt: skip
    assert modification(DRESS, target) == (
        "change the colour from navy to red, swap the long sleeves for short sleeves and remove the belt"
    )
    assert modification(DRESS, target, "instead") == (
        "make it red instead of navy, give it short sleeves instead of long sleeves and take off the belt"
    )
    assert modification(DRESS, target, "want") == (
        "the same but in red, with short sleeves and without a closure"
    )
    assert replaced(modification(DRESS, target)) == {"colour": "navy", "sleeve": "long", "closure": "belt"}
    assert modification(DRESS, DRESS) == "keep it as it is"
