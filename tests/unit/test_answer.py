"""Raw answers of any model -> the text alone, or a reason: wrappings in any composition, and none."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.annotate import answer
from facap.annotate.answer import Fault
from facap.catalog import garments, wording
from tests.outside.answers import INNOCENT, REASONING, REFUSALS
from tests.outside.case import GIVEN

FASHION_IQ = GIVEN.parent / "fashion-iq" / "captions"
CATALOGUE = garments.sample_catalogue(400, seed=11)
CLEAN = sorted(
    {wording.caption(garment) for garment in CATALOGUE}
    | {
        wording.modification(one, other, style)
        for one, other in pairwise(CATALOGUE)
        for style in wording.STYLES
    }
)
PREFACES = (
    "{}",
    "Sure! {}",
    "Certainly!\n\n{}",
    "Here is the caption:\n\n{}",
    "Sure, here's a concise modification text:\n{}",
    "Okay. Below is the request you asked for:\n\n{}",
)
LABELS = (
    "{}",
    "Caption: {}",
    "**Modification:** {}",
    "### Caption\n{}",
    "**Modification text**: {}",
    "Request (short): {}",
)
MARKS = ("{}", "**{}**", '"{}"', "“{}”", "*{}*", "`{}`", "- {}")
FENCES = ("{}", "```\n{}\n```", "```text\n{}\n```", "<answer>{}</answer>", "<answer>\n\n{}\n\n</answer>")
NOTES = (
    "{}",
    "{}\n\nNote: the rest stays as it is.",
    "{}\n\n(Note: kept short.)",
    "{}\n\nLet me know if you would like another one!",
    "{}\n\n---\n\n**Explanation:** the two differ.",
    "{}\nUser: and in blue?\nAssistant: In blue.",
)
ENDS = (
    "{}",
    "{}<|im_end|>",
    "{}<end_of_turn>\n",
    "{}</s>",
    "{}<｜end▁of▁sentence｜>",
    "{}<|eot_id|><|eot_id|>",
)
# Tags that hold the whole answer, notes and all, are put around by ENDS and FENCES.
THOUGHTS = ["{}", *(raw for name, raw in REASONING.items() if "_solution" not in raw and name != "steps")]


def read(raw: str) -> str | Fault:
    return answer.read(raw, max_chars=2000)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(CLEAN),
    st.tuples(*map(st.sampled_from, (MARKS, LABELS, FENCES, PREFACES, NOTES, ENDS, THOUGHTS))),
)
def test_any_composition_of_wrappings_comes_off(text: str, wrappings: tuple[str, ...]) -> None:
    raw = text
    for wrapping in wrappings:
        raw = wrapping.replace("{}", raw)
    assert read(raw) == text, raw


@pytest.mark.parametrize("text", [*INNOCENT, "red", "Short sleeves", "none", "3/4 sleeves", "A-line, v-neck"])
def test_texts_that_only_look_like_something_else_stay_as_they_are(text: str) -> None:
    assert read(text) == text


def test_texts_of_the_catalogue_stay_as_they_are() -> None:
    assert len(CLEAN) > 1000 and [text for text in CLEAN if read(text) != text] == []


@pytest.mark.skipif(not FASHION_IQ.is_dir(), reason=f"{FASHION_IQ} is not there")
def test_what_people_wrote_stays_as_it_is() -> None:
    """Of 60,000 captions a dozen decline ("cannot compare"); none is another language, none loses a word."""
    entries = [entry for file in sorted(FASHION_IQ.glob("*.json")) for entry in json.loads(file.read_text())]
    texts = sorted({" ".join(text.split()) for entry in entries for text in entry["captions"]} - {""})
    some = texts[::4]
    other = [(text, said) for text in some if (said := read(text)) != text]
    assert len(some) > 5000 and len(other) <= len(some) / 2000
    assert all(isinstance(said, Fault) and said.status == "refused" for _, said in other), other


@settings(deadline=None)
@given(st.text(), st.booleans(), st.integers(1, 200))
def test_any_text_is_a_text_or_a_reason(raw: str, cut_off: bool, max_chars: int) -> None:
    said = answer.read(raw, cut_off=cut_off, max_chars=max_chars)
    if isinstance(said, Fault):
        assert said.status in {"too_long", "empty", "refused", "other_language", "unparsable"} and said.error
    else:
        assert not cut_off and 0 < len(said) <= max_chars and said == " ".join(said.split())
        said.encode()


MARKUP = "<think> </think> [THINK] <answer> </answer> <|channel|> final <|message|> <|im_end|> ```"
PIECES = [
    *MARKUP.split(),
    "**",
    "Note:",
    "Caption:",
    "\n",
    '"',
    "{",
    "}",
    " red dress ",
    "1. ",
    "# ",
    "---",
    "a",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_marks_in_any_order_are_no_error_and_leave_no_tag(marks: list[str]) -> None:
    said = read("".join(marks))
    text = said if isinstance(said, str) else ""
    assert not any(tag in text for tag in ("think>", "THINK]", "answer>", "<|im_end|>", "```"))


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think>",
        "<answer>",
        "\n- ",
        "# a\n",
        "```",
        '"',
        '{"a":"',
        "*a",
        "[(",
        "(note",
        "sure ",
        "â",
        "<",
    ],
)
def test_a_hostile_answer_is_bounded(piece: str) -> None:
    said = read(piece * 100_000)  # a quadratic search in this would run for minutes
    assert isinstance(said, Fault) and said.status == "too_long"
    read(piece * (9000 // len(piece)))


def test_a_cut_answer_is_too_long_whatever_it_says() -> None:
    for raw in ("", "<think>red", "a red dress", REFUSALS["sorry"], "{"):
        said = answer.read(raw, cut_off=True, max_chars=100)
        assert isinstance(said, Fault) and said.status == "too_long"


def test_another_language_may_be_asked_for() -> None:
    french = "Une robe rouge avec des manches courtes."
    assert read(french) == Fault("other_language", f"the text should be English, and has French: '{french}'")
    assert answer.read(french, max_chars=100, language="any") == french
