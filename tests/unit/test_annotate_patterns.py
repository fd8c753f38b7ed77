"""Patterns that answers are searched with: four times the text takes four times as long, whatever it is."""

import re
import time
from collections.abc import Callable
from importlib import import_module

import pytest

from facap.annotate import answer, json_answer, reasoning
from facap.annotate.refusals import refusal

MODULES = ("characters", "claims", "json_answer", "language", "parsing", "reasoning", "taxonomy", "wrapping")
LENGTHS = 10_000, 40_000
MOST = 8  # times as long; by length alone it is 4, by its square 16
TOO_SHORT_S = 0.003  # to be told from noise
# What some pattern begins with, once, and what may be many times after it.
BEGINNINGS = (
    *("", "<", "</", "<think", "<a ", "<|channel|>", "<|close|>", "<|im_start|>", "<|", "<｜", "analysis"),
    *('"', "“", "(", "x (1", "x (word count", "\nor", "\n(or", "\nuser", "\n#", "# ", "option 1", "the "),
    *("caption", "caption (", "the final", "final caption", "sure", "based on", "note", "&", "&#", "*", "`"),
)
FILLINGS = (" ", "\n", "a", "1", "-", '"', "😀", "\\")
REPEATED = (
    *(
        "<",
        "< ",
        "</ ",
        "<think ",
        "<a ",
        "<|channel|>",
        "<|channel|>a",
        "<|channel|>a<|message|>",
        "<|im_start|> ",
    ),
    *(
        "<｜",
        '{"',
        '\\"',
        '"a',
        "“a",
        "*a",
        "**",
        "(1 ",
        "\n(or ",
        "\nuser ",
        ". [",
        "\n\n",
        "caption ",
        "the ",
        "é",
    ),
    *("option 1 ", "sure ", ". ", "\n# ", "- ", "'", "&#1", "a from ", "a for ", "not a ", "word "),
)


def patterns() -> dict[str, re.Pattern[str]]:
    found = {}
    for module in MODULES:
        for name, value in vars(import_module(f"facap.annotate.{module}")).items():
            for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                pattern = one[0] if isinstance(one, tuple) and one else one
                if isinstance(pattern, re.Pattern):
                    found[f"{module}.{name}.{number}"] = pattern
    return found


PATTERNS = patterns()


def seconds(search: Callable[[str], object], beginning: str, filling: str, length: int) -> float:
    """CPU time of this thread on a text of about `length` characters that nothing ends."""
    text = beginning + filling * (length // len(filling)) + "\x01"
    started = time.thread_time()
    search(text)
    return time.thread_time() - started


def growth(
    search: Callable[[str], object], beginning: str, filling: str, lengths: tuple[int, int] = LENGTHS
) -> float:
    """How many times as long the longer text takes; 0 where it is too short to tell.

    First a tenth of it: a square takes a while there already.
    """
    if seconds(search, beginning, filling, lengths[1] // 10) < TOO_SHORT_S:
        return 0.0
    for _ in range(3):  # others share the cores' caches
        one, two = (seconds(search, beginning, filling, length) for length in lengths)
        if two <= MOST * max(one, TOO_SHORT_S):
            break
    return two / max(one, TOO_SHORT_S)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_time_by_length_alone(name: str) -> None:
    def search(text: str) -> None:
        for _ in PATTERNS[name].finditer(text):
            pass

    tried = [*((beginning, filling) for beginning in BEGINNINGS for filling in FILLINGS)]
    tried += [("", unit) for unit in REPEATED]
    assert {one: ratio for one in tried if (ratio := growth(search, *one)) > MOST} == {}


def test_a_square_is_seen() -> None:
    quadratic = re.compile(r'("(?:[^"\\]|\\.)*")')
    assert growth(lambda text: list(quadratic.finditer(text)), '"', '\\"', (4000, 16_000)) > MOST


def _object(text: str) -> None:
    with pytest.raises(json_answer.NoObject):
        json_answer.read(text)


@pytest.mark.parametrize(
    ("search", "beginning", "filling"),
    [
        (_object, '{"a": x "', '\\"'),
        (_object, '{"a": x ' * 8 + '"', '\\"'),
        (reasoning.final, "<|channel|>", "a"),
        (reasoning.final, "<|channel|>", "a "),
        (reasoning.final, "", "< "),
        (reasoning.final, "", "</ "),
        (reasoning.final, "<think", " "),
        (refusal, "please ", "could you "),
        (lambda text: answer.read(text, max_chars=200_000), "a red dress (1", " "),
        (lambda text: answer.read(text, max_chars=200_000), "a red dress ", "😀 "),
    ],
)  # fmt: skip
def test_an_answer_takes_time_by_length_alone(
    search: Callable[[str], object], beginning: str, filling: str
) -> None:
    assert growth(search, beginning, filling) <= MOST


def test_what_is_left_open_reads_as_before() -> None:
    assert json_answer.read('{"a": "x, }", "b": ["y",],}') == {"a": "x, }", "b": ["y"]}
    assert json_answer.read('say "no {"a": 1,}') == {"a": 1}
    for name in ("final", "a" * 41):
        said = reasoning.final(f"<|channel|>{name}<|message|>a red dress<|return|>")
        assert said == ("a red dress" if name == "final" else None)
