"""Captions as JSON: the schema, what is taught, and what is read, on any text."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.annotate import caption_pipeline, engine, prompts, structured, taxonomy
from facap.annotate.config import CaptionConfig
from facap.annotate.origin import Origin
from facap.schemas import CATEGORIES

WORDS = taxonomy.load()
EMPTY = {name: [] if WORDS.has_many(name) else None for name in WORDS.names()}


def answer(**values: object) -> str:
    return json.dumps(EMPTY | {"caption": "a navy dress"} | values)


def test_what_is_taught_is_what_is_asked_and_what_is_read() -> None:
    text = "a navy and white striped cotton dress with long sleeves, finished with a bow and pockets"
    taught = structured.answer_of(text, WORDS)
    jsonschema.validate(json.loads(taught), structured.schema(WORDS))
    parsed = structured.parse(taught, words=WORDS)
    assert (parsed.status, parsed.text) == ("ok", text)
    assert parsed.attributes == WORDS.attributes(text)
    assert parsed.attributes["detail"] == "bow, pockets" and "closure" not in parsed.attributes


@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        ("", "empty", "wrote nothing"),
        (answer(colour="navy")[:-9], "unparsable", "no JSON"),
        (answer(colour="nevy"), "unparsable", "colour: 'nevy' is not one of"),
        (answer(colour=["navy"]), "unparsable", "colour:"),
        (answer(shoes="red"), "unparsable", "the answer: Additional properties"),
        ('{"colour": "navy"}', "unparsable", "required property"),
        ('{"caption": "a navy dress"}', "unparsable", "names nothing"),
        (answer(colour="navy")[:-1] + ', "colour": "red"}', "unparsable", "the key 'colour' is there twice"),
        (answer(colour="navy")[:-1] + ', "Colour": "red"}', "unparsable", "twice, in other letter case"),
        (answer(), "unparsable", "names nothing"),
        (answer(colour="navy", caption=""), "empty", "wrote nothing"),
        (answer(colour="navy", caption="a " * 500), "too_long", "max_chars"),
        ("[" * 100_000, "unparsable", "no JSON"),
    ],
)
def test_what_is_of_no_use(raw: str, status: str, error: str) -> None:
    parsed = structured.parse(raw, words=WORDS)
    assert parsed.status == status and error in (parsed.error or ""), parsed
    assert parsed.text is None


def test_an_answer_that_was_cut_off_is_too_long() -> None:
    assert structured.parse(answer(colour="navy"), cut_off=True, words=WORDS).status == "too_long"


@settings(deadline=None)
@given(st.one_of(st.text(), st.dictionaries(st.sampled_from([*EMPTY, "caption"]), st.text()).map(json.dumps)))
def test_any_text_gives_a_row(raw: str) -> None:
    parsed = structured.parse(raw, words=WORDS)
    assert (parsed.status == "ok") == (parsed.text is not None) == (parsed.error is None)


@settings(deadline=None)
@given(st.data())
def test_whatever_the_schema_allows_is_read(data: st.DataObject) -> None:
    values: dict[str, object] = {}
    for name in WORDS.names():
        one = st.sampled_from(WORDS.values(name))
        values[name] = data.draw(st.lists(one, max_size=3) if WORDS.has_many(name) else st.none() | one)
    parsed = structured.parse(answer(**values), words=WORDS)
    stated = {name for name, value in values.items() if value}
    assert set(parsed.attributes) == stated and (parsed.status == "ok") == bool(stated)


def test_the_engine_is_told_the_schema() -> None:
    config = CaptionConfig(output="attributes", template="attributes_plain")
    told = config.sampling_params()["structured_outputs"]["json"]
    assert json.loads(told) == structured.schema(WORDS)
    assert engine.engine_kwargs(config)["structured_outputs_config"]["disable_any_whitespace"]
    assert "structured_outputs" not in CaptionConfig().sampling_params()
    assert "structured_outputs_config" not in engine.engine_kwargs(CaptionConfig())


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_prompt_names_every_attribute(category: str) -> None:
    config = CaptionConfig(output="attributes", template="attributes_fashion")
    prompt = caption_pipeline.describe(Origin(config).prompts.of(category), category, config)
    assert category in prompt and all(f'"{name}"' in prompt for name in [*WORDS.names(), "caption"])
    plain = caption_pipeline.describe(prompts.load("attributes_plain"), category, config)
    assert plain == "the attributes of"


def test_values_in_one_another_are_no_error() -> None:
    for depth in (1, 100, *range(900, 1000)):  # where Python's own limit is met: reading, or telling of it
        parsed = structured.parse(f'{{"colour": {"[" * depth + "]" * depth}}}', words=WORDS)
        assert parsed.status == "unparsable" and parsed.error
