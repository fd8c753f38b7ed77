"""Bodies of OpenAI-compatible servers -> a reply with a text or a reason, whatever is missing or wrong."""

import json
import math

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from facap.annotate import answer, engine, reply
from facap.annotate.endpoint import _ANSWER, FAILURE, FINISH_REASON, LOGPROBS
from tests.outside import endpoints

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def some(**fields: st.SearchStrategy) -> st.SearchStrategy:
    """An object in which each field is right, missing, or anything."""
    return st.fixed_dictionaries({}, optional={name: ANYTHING | right for name, right in fields.items()})


PARTS = st.lists(ANYTHING | some(type=st.just("text"), text=st.text()), max_size=3)
MESSAGE = some(content=st.text() | PARTS, refusal=st.text(), reasoning_content=st.text())
TOLD = some(content=st.lists(some(logprob=st.floats())), token_logprobs=st.lists(st.none() | st.floats()))
REASONS = st.sampled_from(["stop", "length", "content_filter", "SAFETY", "tool_calls", "eos"])
CHOICE = some(message=MESSAGE, text=st.text(), finish_reason=REASONS, logprobs=TOLD)
BODY = some(
    choices=st.lists(ANYTHING | CHOICE, max_size=2),
    usage=some(prompt_tokens=st.integers(), completion_tokens=st.integers()),
    error=ANYTHING | some(message=st.text(), code=st.integers()),
)


@settings(deadline=None, max_examples=200)
@given(
    BODY.map(lambda body: json.dumps(body).encode()) | ANYTHING.map(json.dumps).map(str.encode) | st.binary()
)
def test_any_body_is_a_row_with_a_text_or_a_reason(body: bytes) -> None:
    got = reply.read(body)
    values = (got.text, got.logprobs, got.read, got.written, got.finish_reason, got.failure)
    columns = {
        name: pa.array([value], kind) for (name, kind), value in zip(_ANSWER, values, strict=True)
    }  # what the client makes of it has to fit into Arrow
    row = {name: column[0].as_py() for name, column in columns.items()}
    row |= {"keep": {}, "rendered_hash": "h", "status": "", "spent_read": 0, "spent_written": 0}
    made = engine._Answer(64)(row)
    assert (made["raw"] is None) == bool(got.failure) and (made["failure"] is None) == (made["error"] is None)
    if not made["failure"]:
        said = answer.read(made["raw"], cut_off=made["cut_off"], max_chars=800)
        assert said if isinstance(said, str) else said.status and said.error
    assert made["confidence"] is None or 0 <= made["confidence"] <= 1


DEEP = st.builds(
    lambda depth, ends: ends[0] * depth + "1" + ends[1] * depth,
    st.sampled_from([2, 100, 400, 700, 900]) | st.integers(1, 1000),
    st.sampled_from([("[", "]"), ('{"text":', "}"), ('[{"text":', "}]"), ('{"message":', "}")]),
)
HUGE = st.builds(
    lambda sign, digits, end: sign + "9" * digits + end,
    st.sampled_from(["", "-"]),
    st.sampled_from([10, 308, 309, 400, 4300, 4301]),
    st.sampled_from(["", ".0", "e5", "e999999"]),
)
PLACES = (
    '{"choices": [{"message": {"content": @}}], "usage": {"prompt_tokens": 1}}',
    '{"choices": [{"message": {"content": [@, {"text": @}]}}]}',
    '{"choices": [{"message": {"content": "a", "refusal": @}, "finish_reason": @}]}',
    '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": @, "completion_tokens": @}}',
    '{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [@, {"logprob": @}]}}]}',
    '{"choices": [{"text": @, "error": @}]}',
    '{"error": @}',
    '{"error": {"message": @}}',
    '{"choices": @}',
    "@",
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PLACES), DEEP | HUGE | st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999"]))
@example(PLACES[3], "9" * 400)
@example(PLACES[0], "[" * 700 + "]" * 700)
@example(PLACES[7], "[" * 900 + "]" * 900)
def test_values_that_are_huge_or_deep_are_no_error(place: str, value: str) -> None:
    got = reply.read(place.replace("@", value).encode())
    assert len(got.failure) <= 400 and all(n is None or 0 <= n < 2**31 for n in (got.read, got.written))


def test_a_reply_is_kept_whatever_its_other_fields_say() -> None:
    message = (
        '{"choices": [{"message": {"content": "a"}, "finish_reason": %s}], "usage": {"prompt_tokens": %s}}'
    )
    for odd in ("9" * 400, "NaN", "-1", "[" * 700 + "]" * 700):
        assert reply.read((message % (odd, odd)).encode()) == reply.Reply("a")
    parts = '{"choices": [{"message": {"content": ["a ", {"text": "red"}, [["dress"]], {"text": ["x"]}]}}]}'
    assert reply.read(parts.encode()).text == "a red"


@pytest.mark.parametrize("mode", [m for m, rows in endpoints.EXPECTED.items() if rows == {"ok": 2}])
def test_answers_that_are_whole(mode: str) -> None:
    got = reply.read(json.dumps(endpoints.reply(mode)).encode())
    assert got.text.startswith(endpoints.TEXT) and not got.failure and not got.finish_reason


def test_log_probabilities_of_chats_and_completions() -> None:
    def told(logprobs: object) -> list[float] | None:
        choice = {"message": {"content": "a"}, "logprobs": logprobs}
        return reply.read(json.dumps({"choices": [choice]}).encode()).logprobs

    assert told({"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": 0}]}) == [-0.5, 0.0]
    assert told({"token_logprobs": [-0.25]}) == [-0.25]
    assert told({"content": [{"token": "a"}]}) is None and told({"token_logprobs": [None, -1]}) is None
    assert told({"content": [{"logprob": math.inf}]}) is None and told(None) is None


@pytest.mark.parametrize(
    ("columns", "cut_off"),
    [
        ({"num_generated_tokens": 64}, True),  # max_tokens
        ({"num_input_tokens": 120, "num_generated_tokens": 40}, True),  # the context
        ({"num_input_tokens": 119, "num_generated_tokens": 40}, False),
        ({FINISH_REASON: "length"}, True),
        ({FINISH_REASON: "length", "num_input_tokens": None, "num_generated_tokens": None}, True),
        ({"num_input_tokens": None, "num_generated_tokens": None}, False),
    ],
)
def test_what_ends_an_answer_before_its_end(columns: dict, cut_off: bool) -> None:
    row = {"keep": {}, "rendered_hash": "h", "status": "", "spent_read": 0, "spent_written": 0, FAILURE: ""}
    row |= {"generated_text": "a red", "num_input_tokens": 10, "num_generated_tokens": 9, LOGPROBS: None}
    made = engine._Answer(64, context=160)(row | columns)
    assert made["cut_off"] == cut_off and made["raw"] == "a red" and made["failure"] is None


def test_a_filtered_answer_keeps_what_was_written() -> None:
    row = {"keep": {}, "rendered_hash": "h", "status": "", "spent_read": 0, "spent_written": 0, FAILURE: ""}
    row |= {"generated_text": "a red", "num_input_tokens": 10, "num_generated_tokens": 9, LOGPROBS: None}
    made = engine._Answer(64)(row | {FINISH_REASON: "content_filter"})
    assert made["failure"] == "refused" and made["raw"] == "a red" and made["written_tokens"] == 9
