"""Raw answers -> clean texts, attributes and reasons, on hand-made cases and on anything at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.annotate import answer, parsing, taxonomy
from facap.annotate.taxonomy import Mention
from facap.errors import ConfigError
from facap.schemas import OK

REASONS = {OK, "empty", "too_long", "refused", "other_language", "unparsable"}
REASONS |= {"forbidden_phrase", "identical", "contradiction"}
RED, NAVY = "a red cotton dress with long sleeves", "a navy cotton dress with short sleeves"


@settings(deadline=None)
@given(st.text(), st.booleans(), st.integers(1, 200))
def test_any_text_gives_a_row(raw: str, cut_off: bool, max_chars: int) -> None:
    for parsed in (
        parsing.parse_caption(raw, cut_off=cut_off, max_chars=max_chars),
        parsing.parse_modification(raw, RED, raw, cut_off=cut_off, max_chars=max_chars),
    ):
        assert parsed.status in REASONS
        assert (parsed.text is None) == (parsed.status != OK) == (parsed.error is not None)
        if parsed.text:
            parsed.text.encode()
            assert len(parsed.text) <= max_chars and parsed.text == " ".join(parsed.text.split())


@settings(deadline=None)
@given(st.text(st.sampled_from("a <|>-\"'`thinkred:Caption\n"), max_size=60))
def test_clean_is_stable_on_its_own_output(raw: str) -> None:
    assert answer.clean(raw) == " ".join(answer.clean(raw).split())


@pytest.mark.parametrize(
    "raw",
    [
        "a red dress with long sleeves",
        "  a red\n dress  with long sleeves",
        'Caption: "a red dress with long sleeves"',
        "Sure, here is the caption: a red dress with long sleeves",
        "<think>it is red, or is it?</think>a red dress with long sleeves<|im_end|>",
        "</s>a red dress with long sleeves</s>",
        "- **a red dress with long sleeves**",
    ],
)
def test_clean(raw: str) -> None:
    assert answer.clean(raw) == "a red dress with long sleeves"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("", "empty"),
        (" \n<|endoftext|>", "empty"),
        ("<think>a red dress, I think", "empty"),
        ("red", "unparsable"),
        ("!!! 123 ???", "unparsable"),
        ("red red red red red", "unparsable"),
        ("a red a red a red a red a red", "unparsable"),
        ("something nice to wear", "unparsable"),
        ("a red dress " + "which is very red indeed " * 40, "too_long"),
        ("a red dress", OK),
    ],
)
def test_caption_status(raw: str, status: str) -> None:
    assert parsing.parse_caption(raw).status == status


def test_an_answer_that_max_tokens_cut_is_too_long() -> None:
    parsed = parsing.parse_caption("a red dress with", cut_off=True)
    assert parsed.status == "too_long" and "max_tokens" in str(parsed.error)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("make it navy with short sleeves", OK),
        ("The same but in navy", OK),
        ("Make it look like the reference image but navy", "forbidden_phrase"),
        ("navy like the other dress", "forbidden_phrase"),
        ("identical in style, but navy", "forbidden_phrase"),
        ("make it navy on the other side of the top", OK),
        ("The same.", "identical"),
        (NAVY + ".", "identical"),
        (RED.title(), "identical"),
        ("", "empty"),
    ],
)
def test_modification_status(raw: str, status: str) -> None:
    assert parsing.parse_modification(raw, RED, NAVY).status == status


def test_quality_is_the_share_of_checks() -> None:
    assert parsing.parse_modification("make it navy", RED, NAVY).quality == 1
    assert parsing.parse_modification("change the colour from red to navy", RED, NAVY).quality == 1
    assert parsing.parse_modification("add green accents", RED, NAVY).quality == pytest.approx(1 / 3)
    assert parsing.parse_modification("make it more elegant", RED, NAVY).quality == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("make it green", "target: colour green"),
        ("make it red", "target: colour red"),
        ("in navy, with long sleeves", "target: sleeve long"),
        ("change the fabric from denim to cotton", "reference: material denim"),
        ("without short sleeves", "target: not sleeve short"),
        ("in navy, without long sleeves", None),
        ("change the colour from red to navy", None),
        ("swap the long sleeves for short ones", None),
        ("with a belt", None),  # of which the captions say nothing
        ("with navy accents", None),
    ],
)
def test_a_text_may_not_claim_what_a_caption_denies(text: str, denied: str | None) -> None:
    parsed = parsing.parse_modification(text, RED, NAVY)
    assert parsed.status == ("contradiction" if denied else OK), parsed
    assert denied is None or f"denies '{denied}'" in (parsed.error or "")


def test_attributes_that_came_with_the_captions_count_more_than_their_words() -> None:
    stated = {"colour": "red"}, {"colour": "green"}
    assert parsing.parse_modification("make it green", RED, NAVY, stated=stated).status == OK
    assert parsing.parse_modification("make it navy", RED, NAVY, stated=stated).status == "contradiction"


def test_a_length_that_is_said_short_is_no_contradiction() -> None:
    before, after = "navy pants with a cropped length", "navy pants with a full length"
    assert parsing.parse_modification("change the length from cropped to full", before, after).status == OK


@pytest.mark.parametrize(
    ("category", "caption", "wrong"),
    [
        ("dress", "a red cotton top with short sleeves", True),
        ("top", "a red cotton blouse with a shirt collar", False),
        ("skirt", "a pair of navy jeans", True),
        ("outfit", "a navy top", False),  # by one of its parts
        ("jacket", "something in navy leather", False),
        ("unmapped", "a navy top", False),
        ("toptee", "a striped t-shirt", False),
        ("pants", "a dress", False),  # of no use for another reason
    ],
)
def test_a_caption_of_another_garment_is_of_no_use(category: str, caption: str, wrong: bool) -> None:
    parsed = parsing.parse_caption(caption, category=category)
    assert (parsed.status == "wrong_category") == wrong, parsed


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        (
            "a navy and white striped cotton dress with long sleeves, a v-neck, a flared shape and a "
            "knee length, fastened with buttons and finished with a bow",
            {
                "colour": "navy",
                "second_colour": "white",
                "pattern": "striped",
                "material": "cotton",
                "sleeve": "long",
                "neckline": "v-neck",
                "fit": "flared",
                "length": "knee",
                "closure": "buttons",
                "detail": "bow",
            },
        ),
        ("A Navy-Blue top", {"colour": "navy"}),
        ("red with white accents", {"colour": "red", "second_colour": "white"}),
        ("white accents on red and blue", {"colour": "red", "second_colour": "white"}),
        ("pockets and a ruffle hem", {"detail": "pockets, ruffle"}),
        ("a dress without sleeves, no belt", {"sleeve": "sleeveless"}),
        ("remove the white buttons, make it red", {"colour": "red"}),
        ("a bored scarred reddish thing", {}),
        ("a long skirt", {}),
    ],
)
def test_attributes(text: str, attributes: dict[str, str]) -> None:
    assert taxonomy.load().attributes(text) == attributes


def test_mentions_tell_what_is_negated() -> None:
    found = list(taxonomy.load().mentions("make it red instead of blue and remove the belt"))
    assert found == [
        Mention("colour", "red"),
        Mention("colour", "blue", negated=True),
        Mention("closure", "belt", negated=True),
    ]


def test_the_demo_catalogue_is_read_without_error() -> None:
    from facap.catalog import garments, wording

    for garment in garments.sample_catalogue(300, seed=5):
        true = {k: v for k, v in garment.attributes().items() if v != "none"}
        true = {k: v for k, v in true.items() if k not in ("category", "bottom")}
        assert taxonomy.load().attributes(wording.caption(garment)) == true


def test_a_taxonomy_of_ones_own_is_added(tmp_path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("colour:\n  values:\n    aubergine: [egg plant]\nheel:\n  values:\n    stiletto: []\n")
    words = taxonomy.load(str(own))
    assert words.attributes("an egg-plant dress, a red stiletto") == {
        "colour": "aubergine",
        "second_colour": "red",
        "heel": "stiletto",
    }


@pytest.mark.parametrize("content", ["- a list", "colour: red", "colour:\n  values: red", "a: ["])
def test_a_broken_taxonomy_is_a_config_error(tmp_path, content: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(content)
    with pytest.raises(ConfigError, match="taxonomy"):
        taxonomy.load(str(own))
