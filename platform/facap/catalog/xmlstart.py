"""Where the XML of a feed or sitemap begins in what a shop sends, in which encoding, under which prefixes.

    >>> start_of(b"\\n<!-- made by a plugin --><?xml version='1.0'?><rss/>")
    26
    >>> declared(b"<rss version='2.0'><channel>")[:49]
    b'<rss xmlns:g="http://base.google.com/ns/1.0" xmln'

Blank lines, comments and warnings of PHP before the beginning are no XML and are passed over. A byte that
is no part of a character, and a control character that XML forbids, become NO_TEXT: a collector gets a half
surrogate for it, so that one broken item costs itself and not all that follow.
"""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from facap.catalog.encodings import HALVES, LONGEST_MARK, encoding_of
from facap.catalog.lines import BrokenSource
from facap.catalog.peeked import Peeked, pieces_of

HEAD_BYTES = 1 << 16  # in which a document should begin
MAX_DOCUMENTS = 1000  # of one file, each with a parser of its own; a shop joins a few
PREFIXES = {
    b"g": b"http://base.google.com/ns/1.0",
    b"image": b"http://www.google.com/schemas/sitemap-image/1.1",
}
"""Those that everyone means the same by, declared where a root does not."""

ROOT_NAMES = b"urlset|sitemapindex|rss|feed|RDF"
NO_TEXT = "\ufdd0"  # of Unicode's own for internal use, and allowed in XML
_ROOT = rb"<(?:[A-Za-z][\w.-]*:)?(" + ROOT_NAMES + rb")(?=[\s/>])"
_COMMENT = rb"<!--.*?(?:-->|\Z)"
_START = re.compile(_COMMENT + rb"|<\?xml\s|<!DOCTYPE\s|" + _ROOT, re.DOTALL)
_ROOT_START = re.compile(_COMMENT + rb"|" + _ROOT, re.DOTALL)
_TAG_END = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*+>""")
_ENCODING = re.compile(rb"""<\?xml\s[^>]{0,200}?\bencoding\s*=\s*["']([\w.-]+)["']""")
_UNICODE = re.compile(rb"(?i)utf[-_]?(8|16|32)|ucs")
_CONTROLS = bytes({*range(32)} - {9, 10, 13})
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def start_of(head: bytes) -> int:
    """Where a declaration, document type or one of ROOT_NAMES first stands outside comments; -1: nowhere."""
    return next((m.start() for m in _START.finditer(head) if not m[0].startswith(b"<!--")), -1)


def root_of(head: bytes) -> tuple[int, str]:
    """Where the first of ROOT_NAMES stands outside comments, and its name; (-1, "") if none does."""
    found = next((m for m in _ROOT_START.finditer(head) if m[1]), None)
    return (found.start(), found[1].decode()) if found else (-1, "")


def declared(head: bytes) -> bytes:
    """`head` with those of PREFIXES declared at the root that its tag does not declare."""
    found = next((m for m in _ROOT_START.finditer(head) if m[1]), None)
    end = _TAG_END.match(head, found.end()) if found else None
    if found is None or end is None:
        return head
    more = b"".join(
        b' xmlns:%b="%b"' % (prefix, address)
        for prefix, address in PREFIXES.items()
        if not re.search(rb"\sxmlns:%b\s*=" % prefix, end[0])
    )
    return head[: found.end()] + more + head[found.end() :]


class XmlSource:
    """The bytes of a file from where its XML begins: `file`, and `encoding`, None if the XML's own counts."""

    def __init__(self, file: BinaryIO) -> None:
        source = Peeked(pieces_of(file))
        name, mark = encoding_of(source.head(LONGEST_MARK))
        said = _ENCODING.search(source.head(HEAD_BYTES)) if not name else None
        # UTF-16 that is said of bytes which are none is a slip: those of .NET say so of UTF-8.
        self.encoding = None if said and not _UNICODE.match(said[1]) else "utf-8"
        source.read1(mark)
        pieces = iter(source.read1, b"")
        self.file = Peeked(_clean(pieces, name or "utf-8")) if self.encoding else source
        self._documents = 0

    def next_document(self) -> bool:
        """Passes over what is no XML; whether a document follows. The first always does, if only to fail.

        Raises BrokenSource if it is one more than MAX_DOCUMENTS.
        """
        head = self.file.head(HEAD_BYTES)
        self._documents += 1
        start = start_of(head) if self._documents == 1 else root_of(head)[0]
        if start < 0 and self._documents > 1:
            return False
        if self._documents > MAX_DOCUMENTS:
            raise BrokenSource("malformed_xml", f"more than {MAX_DOCUMENTS} documents in one file")
        whole = self.file.read(len(head))
        self.file.unread(declared(whole[max(start, 0) :] if start >= 0 else whole.lstrip()))
        return True


def _clean(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-8, with NO_TEXT for what XML cannot hold."""
    decoder = codecs.getincrementaldecoder(encoding)(errors=HALVES)
    for piece in pieces:
        if text := decoder.decode(piece):
            yield _allowed(text)
    yield _allowed(decoder.decode(b"", final=True))


def _allowed(text: str) -> bytes:
    try:
        body = text.encode()
        if len(body.translate(None, _CONTROLS)) == len(body) and b"\xef\xbf" not in body:
            return body  # nearly always, and ten times faster
    except UnicodeEncodeError:
        pass
    return _FORBIDDEN.sub(NO_TEXT, text).encode()
