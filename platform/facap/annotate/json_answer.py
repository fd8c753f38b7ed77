r"""The JSON object in an answer that was to be one.

    >>> read('Here it is:\n```json\n{"colour": "red",}\n```\nIt is red.')
    {'colour': 'red'}

What stands before and after it, trailing commas and line ends in strings are forgiven. A key that is there
twice is not: which of its values was meant nobody knows.
"""

import json
import re
from typing import Any

# A string without an end runs to the end of the text: it is read once, not from each of its quotes.
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.?)*+(?:"|\Z))|,(?=\s*[}\]])', re.DOTALL)
_ATTEMPTS = 8  # braces of the prose before it, at each of which an object might begin


_TEXT_KEYS = (
    *("modification", "modification_text", "caption", "text", "request", "instruction", "answer"),
    *("description", "change", "output", "response", "result", "sentence", "query"),
)
_NESTED = 6  # values in one another


class NoObject(ValueError):
    """There is no object, or one that cannot be taken as it is."""


class _Doubled(Exception):
    pass


def read(text: str) -> dict[str, Any]:
    """The first object in `text`, or the one that is its only value. Raises NoObject."""
    starts = [found.start() for found in re.finditer(r"\{", text[:200_000])][:_ATTEMPTS]
    if not starts:
        raise NoObject("there is no JSON object")
    reason = ""
    for start in starts:
        rest = text[start:]
        for candidate in dict.fromkeys((rest, _TRAILING_COMMA.sub(r"\1", rest))):  # mostly one
            try:
                found, _ = _DECODER.raw_decode(candidate)
            except _Doubled as error:
                raise NoObject(f"the key '{error}' is there twice") from error
            except (ValueError, RecursionError) as error:
                reason = reason or str(error)
                continue
            while len(found) == 1 and isinstance(inner := next(iter(found.values())), dict):
                found = inner
            if found:
                return found
    raise NoObject(f"no JSON ({reason or 'an empty object'})")


def text_of(text: str) -> str:
    """The one text of an object or list that is the whole of `text`; any other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        said: Any = _DECODER.decode(text.strip())
    except (ValueError, RecursionError, _Doubled):
        return text
    for _ in range(_NESTED):
        if isinstance(said, str):
            return said
        if isinstance(said, list) and said:
            said = said[0]
        elif isinstance(said, dict) and said:
            named = [key for key in _TEXT_KEYS if key in said]
            if not named and len(said) > 1:
                break
            said = said[named[0]] if named else next(iter(said.values()))
    return text


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Doubled(name[:60])
        found[name] = value
    return found


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_once_each)
