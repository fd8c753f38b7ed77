"""Shops' category names onto ours."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.catalog.categories import Categories
from facap.catalog.config import CatalogConfig
from facap.errors import ConfigError
from facap.schemas import CATEGORIES, UNMAPPED

TABLE = Categories.load()

# Google's product taxonomy, 2021-09-21, "Apparel & Accessories > Clothing > " left out.
GOOGLE = {
    "Dresses": "dress",
    "One-Pieces": "outfit",
    "One-Pieces > Jumpsuits & Rompers": "outfit",
    "One-Pieces > Leotards & Unitards": "outfit",
    "Outerwear": "jacket",
    "Outerwear > Coats & Jackets": "jacket",
    "Outerwear > Rain Pants": "pants",
    "Outerwear > Rain Suits": "outfit",
    "Outerwear > Vests": "jacket",
    "Outerwear > Snow Pants & Suits": UNMAPPED,
    "Outfit Sets": "outfit",
    "Pants": "pants",
    "Shirts & Tops": "top",
    "Shorts": "pants",
    "Skirts": "skirt",
    "Skirts > Mini Skirts": "skirt",
    "Skorts": "skirt",
    "Suits > Pant Suits": "outfit",
    "Suits > Skirt Suits": "outfit",
    "Wedding & Bridal Party Dresses > Wedding Dresses": "dress",
    "Wedding & Bridal Party Dresses": "dress",
    "Baby & Toddler Clothing > Baby & Toddler Dresses": "dress",
    "Activewear > Bicycle Activewear > Bicycle Shorts & Briefs": "pants",
    "Activewear > Dance Dresses, Skirts & Costumes": UNMAPPED,
    "Swimwear": UNMAPPED,
    "Sleepwear & Loungewear > Robes": UNMAPPED,
    "Underwear & Socks > Bras": UNMAPPED,
    "Uniforms > Sports Uniforms": "",
}

OTHERS = {
    "2271": "dress",
    "5598": "jacket",
    "187": UNMAPPED,
    "99999": "",
    "dress": "dress",
    " DRESSES ": "dress",
    "Women's Clothing/Dresses": "dress",
    "Women / Clothing / Mid-Length Dresses": "dress",
    "Home | New | T-Shirts": "top",
    "Dresses for Women": "dress",
    "Ladies’ Trench Coats": "jacket",
    "Men's": "",
    "Shirt Dresses": "dress",
    "Dress Shirts": "top",
    "Dress Shoes": UNMAPPED,
    "Dresses > Accessories": UNMAPPED,
    "Skirts & Dresses": UNMAPPED,
    "Skinny Jeans": "pants",
    "Co-ord Sets": "outfit",
    "Crop Tops": "top",
    "Dresses > Boho": "dress",
    "Laptops": "",
    "Kleider": "",
    "Apparel & Accessories": "",
    "Dresses > Clothing & Accessories": "dress",
    "": "",
    ">>>": "",
}


@pytest.mark.parametrize("name", GOOGLE)
def test_googles_taxonomy(name: str) -> None:
    assert TABLE.of(f"Apparel & Accessories > Clothing > {name}") == GOOGLE[name]


@pytest.mark.parametrize("name", OTHERS)
def test_other_names(name: str) -> None:
    assert TABLE.of(name) == OTHERS[name]


@pytest.mark.parametrize("name", CATEGORIES)
def test_our_names_are_their_own(name: str) -> None:
    assert TABLE.of(name) == name == TABLE.of(name.upper())


def test_a_table_of_ones_own_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "dress: [Kleid, Kleider, 4711]\nunmapped: [Vests]\ntop: ['Women > Basics > Vests']\n"
        "ignored_words: [damen]\n"
    )
    mine = Categories.load(str(path))
    assert [mine.of(name) for name in ("Damen > Kleider", "4711", "Sommer-Kleid", "Damen Kleider")] == [
        "dress"
    ] * 4
    assert mine.of("Outerwear > Vests") == UNMAPPED and mine.of("Women > Basics > Vests") == "top"
    assert mine.of("Skirts") == "skirt" and mine.fingerprint() != TABLE.fingerprint()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"- a\n- b", "is list"),
        (b"hats: [hat]", "unknown category 'hats'; known: dress"),
        (b"dress: kleid", "'dress' should be a list of names, is \"kleid\""),
        (b"dress: [[a]]", "should be a list of names"),
        (b"ignored_words: [in, on]", 'is ."in", true'),
        (b"dress: [", "should be a mapping"),
        (b"\xff\xfe", "should be a mapping"),
    ],
)
def test_a_table_that_is_none_is_said(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=says) as raised:
        Categories.load(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"columns": {"picture": "x"}}, "unknown field 'picture'; known: product_id"),
        ({"default_category": "hat"}, "should be one of dress"),
        ({"pages_since": "yesterday"}, "valid date"),
    ],
)
def test_settings_say_what_they_take(setting: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CatalogConfig(**setting)


@given(st.text(max_size=600))
def test_any_name_has_an_answer(name: str) -> None:
    assert TABLE.of(name) in (*CATEGORIES, UNMAPPED, "")
