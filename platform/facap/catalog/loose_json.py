"""JSON as shops write it into pages: valid, or valid but for what is strewn around and between its values.

    >>> read('/* a */ {"image": ["/7.jpg",],}; {"sku": "8"}')
    ([{'image': ['/7.jpg']}, {'sku': '8'}], '')

Put right are comments of JavaScript and HTML, CDATA marks, commas and semicolons too many, several values
in a row, a byte order mark, raw line breaks and unknown escapes in strings, and text that was escaped for
HTML as a whole. Nothing else is guessed at: what stays malformed is said. Each reading is one pass over the
text, and there are four at most.
"""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 100  # of lists and objects where something has to be put right
MAX_VALUES = 1000  # in a row

_PIECES = r"""
    (?P<string> " [^"\\]*+ (?:\\.[^"\\]*+)*+ "? )
  | (?P<mark> (?://|/\*)? [ \t]* (?:<!\[CDATA\[|\]\]>|\]\]&gt;) (?:[ \t]*\*/)? | --> {marks} )
  | (?P<note> // [^\r\n]*+ | /\* .*? (?:\*/|\Z) {notes} )
  | (?P<space> [\s\ufeff\u200b]++ )
  | (?P<sign> [{{}}\[\],;] )
  | (?P<word> [^"\s{{}}\[\],;/<&\-\ufeff\u200b]++ | . )
"""  # possessive, and what is not closed ends with the text: no place is looked at twice
_FLAGS = re.VERBOSE | re.DOTALL
_NOTES_OUT = re.compile(_PIECES.format(marks="", notes=r"| <!-- .*? (?:-->|\Z)"), _FLAGS)
_MARKS_OUT = re.compile(_PIECES.format(marks="| <!--", notes=""), _FLAGS)
_ESCAPE = re.compile(r"\\(?:(u[0-9a-fA-F]{4}|[\"\\/bfnrt])|(.))", re.DOTALL)
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_CLOSES = {"}": "{", "]": "["}


def read(text: str) -> tuple[list[Any], str]:
    """The values of `text`, and what is wrong with the rest of it; "" if nothing is."""
    try:
        return [json.loads(text, strict=False)], ""
    except (ValueError, RecursionError) as error:
        best: tuple[list[Any], str] = ([], str(error))
    for spelled in dict.fromkeys((text, unescaped(text))):
        for pieces in (_NOTES_OUT, _MARKS_OUT) if "<!--" in spelled else (_NOTES_OUT,):
            values, wrong = _values(spelled, pieces)
            if values and not wrong:
                return values, ""
            best = best if best[0] or not values else (values, wrong)
    return best


def unescaped(text: str) -> str:
    """`text` without HTML's entities, once; those without a semicolon may be parts of an address."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text)


def _values(text: str, pieces: re.Pattern[str]) -> tuple[list[Any], str]:
    values, wrong = [], ""
    for segment in _segments(text, pieces):
        try:
            value = json.loads(segment, strict=False)
        except (ValueError, RecursionError) as error:
            wrong = wrong or str(error)
            continue
        if isinstance(value, dict | list):
            values.append(value)
        else:
            wrong = wrong or f"neither list nor object: {segment[:40]}"
    return values, wrong


def _segments(text: str, pieces: re.Pattern[str]) -> Iterator[str]:
    """The values on the outermost level as texts; from where brackets do not match, all the rest is one."""
    out: list[str] = []
    opened: list[str] = []
    last, comma, count, matched = "", False, 0, True
    for found in pieces.finditer(text):
        if not matched or len(opened) > MAX_DEPTH or count > MAX_VALUES:
            out.append(text[found.start() :])
            break
        piece = found[0]
        if found.lastgroup in ("mark", "note", "space"):
            out.append(" ")
            continue
        if piece == "," or (piece == ";" and not opened):
            comma = last not in ("", "{", "[")
            continue
        if comma and opened and piece not in _CLOSES:
            out.append(",")
        comma, last = False, piece
        if piece in ("{", "["):
            if not opened:
                yield from _said(out)
                out = []
            opened.append(piece)
        out.append(_string(piece) if found.lastgroup == "string" else piece)
        if piece in _CLOSES:
            matched = not opened or opened.pop() == _CLOSES[piece]
            if matched and not opened:
                yield from _said(out)
                out, last, count = [], "", count + 1
    yield from _said(out)


def _said(out: list[str]) -> Iterator[str]:
    said = "".join(out).strip()
    if said:
        yield said


def _string(text: str) -> str:
    """A string whose unknown escapes stand for the character itself, as in JavaScript."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: found[0] if found[1] else found[2].strip("\r\n"), text)
