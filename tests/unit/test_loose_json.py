"""JSON with what shops strew around it reads as the plain one, and nothing takes longer than its length."""

import html
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog.loose_json import MAX_DEPTH, MAX_VALUES, read

TEXT = st.text(alphabet=st.sampled_from("aé漢\"\\/*<>!-[]{},;:&' \n\t\x01😀"), max_size=12) | st.sampled_from(
    [
        "// x",
        "/* */",
        "<!-- -->",
        "]]>",
        "<![CDATA[",
        "&amp;",
        "&quot;",
        "https://a.example/?a=1&copy=2",
        ",]",
        "};",
    ]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
DOCUMENT = st.dictionaries(TEXT, VALUE, min_size=1, max_size=4) | st.lists(VALUE, min_size=1, max_size=3)
NOISE = st.sampled_from(
    ["", " ", "\n", "\ufeff", '/* a " { , ] */', '// ] } "\n', '<!-- [ " -->', "\u00a0", "\u200b"]
)


def strewn(value: Any, data: st.DataObject) -> str:
    """`value` as JSON with noise between its tokens and commas where none belong."""
    noise = data.draw(NOISE)
    comma = data.draw(st.sampled_from(["", ",", " , ", ",/* */"]))
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)}{noise}:{strewn(inner, data)}" for key, inner in value.items()]
        return "{" + noise + f"{noise},".join(pairs) + (comma if pairs else "") + "}"
    if isinstance(value, list):
        return (
            "["
            + f"{noise},{noise}".join(strewn(inner, data) for inner in value)
            + (comma if value else "")
            + "]"
        )
    return noise + (_raw(value) if data.draw(st.booleans()) else json.dumps(value))


def _raw(value: Any) -> str:
    """With control characters and line breaks as they are."""
    text = json.dumps(value, ensure_ascii=False)
    return (
        text.replace("\\n", "\n").replace("\\t", "\t")
        if isinstance(value, str) and "\\\\" not in text
        else text
    )


WRAPPERS = [
    "{}", "<!--{}-->", "<!--\n{}\n//-->", "//<![CDATA[\n{}\n//]]>", "// <![CDATA[ {} // ]]>",
    "/* <![CDATA[ */{}/* ]]> */", "<![CDATA[{}]]>", "// <![CDATA[\n{}\n// ]]&gt;", "\ufeff{};",
    "/* a */{},", "<!-- b -->{}", "{}// c", " {} ;;",
]  # fmt: skip


BETWEEN = st.sampled_from(["", "\n", ",", ";", " ;\n"])
ESCAPES = [html.escape, lambda text: text.replace("&", "&amp;").replace('"', "&#34;")]


@given(st.lists(DOCUMENT, min_size=1, max_size=3), st.sampled_from(WRAPPERS), BETWEEN, st.data())
@settings(deadline=None, max_examples=300)
def test_any_wrapping_reads_as_the_plain_one(
    documents: list[Any], wrapper: str, between: str, data: st.DataObject
) -> None:
    parts = [
        strewn(document, data) if data.draw(st.booleans()) else json.dumps(document) for document in documents
    ]
    if ("<!--" in wrapper and "b" not in wrapper) or "// <![CDATA[ {}" in wrapper:
        # An HTML comment ends at the first -->, and a line is a line.
        parts = [json.dumps(document) for document in documents]
    text = wrapper.replace("{}", between.join(parts))
    assert read(text) == (documents, "")


@given(DOCUMENT, st.sampled_from(WRAPPERS), st.sampled_from(ESCAPES))
@settings(deadline=None)
def test_what_was_escaped_for_html_reads_as_the_plain_one(document: Any, wrapper: str, escape: Any) -> None:
    if isinstance(document, list):
        document = {"graph": document}
    values, wrong = read(wrapper.replace("{}", escape(json.dumps(document))))
    assert (values, wrong) == ([document], "")


@given(st.text(alphabet=st.sampled_from('{}[],;:"\\/*<!->&quot1a \n\ufeff'), max_size=60))
@settings(deadline=None, max_examples=500)
def test_any_text_gives_values_or_a_reason(text: str) -> None:
    values, wrong = read(text)
    assert values or wrong
    try:
        assert (values, wrong) == ([json.loads(text, strict=False)], "")
    except ValueError:
        assert all(isinstance(value, dict | list) for value in values)


@pytest.mark.parametrize(
    "unit",
    ['"', '\\"', "/*", "//", "/ ", "<!--", "-", "[", "]", "{", "{}", "[],", "&quot;", "<![CDATA[", "/* ",
     "//  ", "x", ",", "&", "'"],
)  # fmt: skip
def test_reading_takes_time_by_length_alone(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit)) + "&lt;<!--"
        started = time.process_time()
        read(text)
        return time.process_time() - started

    short, long = seconds(20_000), seconds(320_000)
    assert long < 16 * 6 * max(short, 0.005)  # a square would be 256 times


def test_depth_and_number_are_bounded() -> None:
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert read(deep + ";")[0] == [] and read(deep + ";")[1]
    values, wrong = read("{}" * (2 * MAX_VALUES))
    assert len(values) <= MAX_VALUES + 1 and wrong
