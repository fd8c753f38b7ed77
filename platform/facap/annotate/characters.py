"""What servers and tokenizers do to the characters of a text, undone.

    >>> legible("Make it red &amp; short â€“ with\\u200b a caf\\u00c3\\u00a9 collar")
    'Make it red & short – with a café collar'

Escapes of HTML, UTF-8 that was read as Windows-1252 ("mojibake"), marks that nobody sees, other line ends.
What comes out can be written as UTF-8.
"""

import html
import re
import unicodedata

_QUOTE = re.compile(r"&(?:quot|#0*34|#[xX]0*22);")
_ENTITY = re.compile(rf"(?!{_QUOTE.pattern})&(?:#\d{{1,7}}|#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z]\w{{1,30}});")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]{2,}")
_OF_TOKENIZERS = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})  # blanks that were not decoded
_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_ESCAPED = re.compile(r"\\(?:([nrt])|([\"'])|u([0-9a-fA-F]{4}))")


def legible(raw: str) -> str:
    """`raw` with the characters that its writer meant, and lines that end with one mark."""
    text = _ENTITY.sub(lambda found: html.unescape(found.group()), raw)
    text = _LINE_END.sub("\n", _NOT_ASCII.sub(_read_as_utf8, text)).translate(_OF_TOKENIZERS)
    return "".join(c for c in _CONTROL.sub(" ", text) if unicodedata.category(c) != "Cf")


def unescaped(text: str) -> str:
    r"""`text` with what `\n`, `\"`, `\u2019` and `&quot;` stand for. JSON needs the escapes."""
    text = _QUOTE.sub('"', text)
    return _CONTROL.sub(" ", _ESCAPED.sub(_meant, text)) if "\\" in text else text


def _meant(escape: re.Match[str]) -> str:
    blank, quote, code = escape.groups()
    if blank:
        return " " if blank == "t" else "\n"
    return quote or chr(int(code, 16))


def _read_as_utf8(found: re.Match[str]) -> str:
    """Characters whose Windows-1252 bytes are valid UTF-8 as what these bytes say; else as they are."""
    try:
        return b"".join(map(_byte, found.group())).decode("utf-8")
    except UnicodeError:
        return found.group()


def _byte(character: str) -> bytes:
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")  # the five bytes that Windows-1252 leaves undefined
