"""What bytes of text are encoded in: by their byte-order mark, by the zeros of UTF-16, else UTF-8.

    >>> import io
    >>> text_of(io.BytesIO("id;été".encode("utf-16"))).read()
    'id;été'

A byte that is no part of a character becomes a half surrogate, which `items` counts as bad_text: what is
wrong in one row costs that row.
"""

import codecs
import io
from typing import BinaryIO, cast

from facap.catalog.peeked import Peeked, pieces_of

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LONGEST_MARK = 4  # bytes
HALVES = "facap-halves"  # a name for what happens to bytes that are no text


def _halves(error: UnicodeError) -> tuple[str, int]:
    """As Python's surrogateescape, but for the zeros of UTF-16 and UTF-32 too."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(HALVES, _halves)


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding that the first bytes show, and the length of their mark; ("", 0) if they show none."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name, len(mark)
    zeros = tuple(byte == 0 for byte in head[:LONGEST_MARK])  # two ASCII letters in UTF-16 show themselves
    unmarked: dict[tuple[bool, ...], str] = {(True, False) * 2: "utf-16-be", (False, True) * 2: "utf-16-le"}
    return unmarked.get(zeros, ""), 0


def text_of(file: BinaryIO) -> io.TextIOWrapper:
    """A file as text, its line ends as they are."""
    source = Peeked(pieces_of(file))
    name, mark = encoding_of(source.head(LONGEST_MARK))
    source.read1(mark)
    return io.TextIOWrapper(cast(BinaryIO, source), encoding=name or "utf-8", errors=HALVES, newline="")


def as_utf8(head: bytes) -> bytes:
    """The first bytes of a text without their mark, as UTF-8 if they show to be something else."""
    name, mark = encoding_of(head)
    return head[mark:].decode(name, errors="ignore").encode(errors="ignore") if name else head
