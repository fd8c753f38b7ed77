"""JSON files from anywhere, within bounds: every fault is a FormatError that names file and line.

    >>> list(records('[{"a": 1},\\n {"a": 2}]', "x.json"))
    [(1, {'a': 1}), (2, {'a': 2})]
    >>> list(records('[{"a": 1},\\n oops]', "x.json"))
    Traceback (most recent call last):
    facap.errors.FormatError: x.json, line 2: Expecting value; should be JSON

Records are decoded one at a time, so that of a large file only the text is held whole.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facap.errors import FormatError

_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
MAX_TEXT = 20_000  # characters of one caption; the longest of FACap has about 550
MAX_CAPTIONS = 100  # of one record


def read_text(path: Path, max_bytes: int) -> str:
    """The file as text; FormatError if it is missing, larger than `max_bytes` or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise FormatError(
            f"{path} has over {max_bytes >> 20} MiB; raise imports.max_file_mib if that is right"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path.name}, line {line}: should be UTF-8 ({error.reason})") from error


def content_hash(path: Path) -> str:
    """Hash (hex) of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error


def records(text: str, file: str) -> Iterator[tuple[int, Any]]:
    """(line, value) of each element of the JSON array `text`; `file` is its name in errors."""
    decoder = _decoder()
    at, line, counted = _skip(text, 0), 1, 0
    if text[at : at + 1] != "[":
        raise FormatError(f"{file}, line 1: should be a JSON list, begins {text[at : at + 20]!r}")
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        at += 1
    else:
        while True:
            line, counted = line + text.count("\n", counted, at), at
            value, at = _decode(decoder, text, at, file)
            yield line, value
            at = _skip(text, at)
            mark = text[at : at + 1]
            at = _skip(text, at + 1)
            if mark == "]":
                break
            if mark != ",":
                raise FormatError(f"{file}, line {_line(text, at)}: should be JSON: ',' or ']' is missing")
    if _skip(text, at) != len(text):
        raise FormatError(f"{file}, line {_line(text, at)}: more text after the end of the JSON list")


def mapping(text: str, file: str) -> dict[str, Any]:
    """The JSON object `text`; a key that comes twice is an error."""
    value, at = _decode(_decoder(), text, _skip(text, 0), file)
    if not isinstance(value, dict):
        raise FormatError(f"{file}, line 1: should be a JSON object, is {_kind(value)}")
    if _skip(text, at) != len(text):
        raise FormatError(f"{file}, line {_line(text, at)}: more text after the end of the JSON object")
    return value


def dump(value: Any) -> str:
    """JSON as Fashion IQ's files are written: four blanks, ASCII, no line break at the end."""
    return json.dumps(value, indent=4)


def check_text(value: Any, what: str, where: str) -> str:
    """`value` if it is a text that can be stored; FormatError otherwise."""
    if not isinstance(value, str):
        raise FormatError(f"{where}: {what} should be a text, is {_kind(value)}")
    if len(value) > MAX_TEXT:
        raise FormatError(f"{where}: {what} has {len(value)} characters, at most {MAX_TEXT} are taken")
    if _SURROGATE.search(value):
        raise FormatError(f"{where}: {what} has half a surrogate pair, which is no text")
    return value


def check_captions(value: Any, where: str) -> tuple[str, ...]:
    """`value` if it is a list of texts; FormatError otherwise."""
    if not isinstance(value, list) or len(value) > MAX_CAPTIONS:
        seen = f"{len(value)} texts" if isinstance(value, list) else _kind(value)
        raise FormatError(f"{where}: captions should be a list of at most {MAX_CAPTIONS} texts, is {seen}")
    return tuple(check_text(text, "a caption", where) for text in value)


def check_keys(value: Any, required: set[str], optional: set[str], where: str) -> dict[str, Any]:
    """`value` if it is an object with just these keys; FormatError otherwise."""
    if not isinstance(value, dict):
        raise FormatError(f"{where}: a record should be a JSON object, is {_kind(value)}")
    if missing := sorted(required - value.keys()):
        raise FormatError(f"{where}: the record has no '{missing[0]}'")
    if unknown := sorted(value.keys() - required - optional):
        known = ", ".join(sorted(required | optional))
        raise FormatError(f"{where}: unknown key '{unknown[0][:80]!s}' in a record; known: {known}")
    return value


class _Repeated(ValueError):
    """A key that comes twice in one object."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Repeated(f"the key {twice[:80]!r} comes twice in one object")
    return value


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_pairs)


def _decode(decoder: json.JSONDecoder, text: str, at: int, file: str) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise FormatError(f"{file}, line {error.lineno}: {error.msg}; should be JSON") from error
    except _Repeated as error:
        raise FormatError(f"{file}, line {_line(text, at)}: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting without end
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:80]
        raise FormatError(f"{file}, line {_line(text, at)}: {what}; should be JSON") from error


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
