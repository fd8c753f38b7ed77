"""XML in pieces, hardened: no document types, hence no entities of its own, and nothing is held but a record.

    >>> import io
    >>> class Names(Collector):
    ...     def start(self, tag, attributes):
    ...         self.found.append({"tag": tag})
    >>> list(records(io.BytesIO(b"<a><b/></a>"), Names))
    [{'tag': 'a'}, {'tag': 'b'}]

Feeds and sitemaps need no DOCTYPE, and every entity bomb and every read of a local file needs one: it is
refused outright. libxml2 bounds the depth and the length of names; here a token and a record are bounded.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from lxml import etree

from facap.catalog.lines import READ_BYTES, BrokenSource, Line, Unreadable
from facap.catalog.xmlstart import NO_TEXT, ROOT_NAMES, XmlSource

MAX_TOKEN_BYTES = 1 << 20  # without the start of an element
MAX_DEPTH = 64  # of elements; feeds have five levels
MAX_RECORD = 1 << 20  # characters and elements of one item, entry or url; a product takes a few thousand
LONGEST_END = 64  # bytes of the tag that ends a document
HALF = "\udcff"  # a half surrogate, which `items` counts as bad_text
_END = re.compile(rb"</(?:[A-Za-z][\w.-]*:)?(?:" + ROOT_NAMES + rb")\s*>")


class Collector:
    """What libxml2 calls as it reads. Subclasses put finished records into `found` and reset `size`.

    A record that outgrows MAX_RECORD is `oversized` from then on: its subclass holds no more of it and puts
    TOO_LARGE in its place.
    """

    def __init__(self) -> None:
        self.found: list[Line] = []
        self.size = 0  # of the record so far

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins; `tag` as {namespace}name."""

    def end(self, tag: str) -> None:
        """An element ends."""

    def data(self, text: str) -> None:
        """A piece of text."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Refused."""
        raise BrokenSource(
            "doctype_refused", f"a document type '{name}' is declared, which may hide entities"
        )

    def close(self) -> None:
        """The document has ended."""

    @property
    def oversized(self) -> bool:
        """Whether the record is too large to be held."""
        return self.size > MAX_RECORD


TOO_LARGE = Unreadable("record_too_large", f"one record of more than {MAX_RECORD} characters")


def name_of(tag: str) -> tuple[str, str]:
    """Namespace ("" if none) and local name of a tag."""
    namespace, _, local = tag.rpartition("}")
    return namespace[1:], local


def records(file: BinaryIO, collector: Callable[[], Collector]) -> Iterator[Line]:
    """What a new collector finds, as it finds it; raises BrokenSource where the XML is not well-formed.

    What is before a document and after it is passed over, unless it is a document too.
    """
    source = XmlSource(file)
    while source.next_document():
        yield from _document(source, _Counted(collector()))


def _document(source: XmlSource, counted: "_Counted") -> Iterator[Line]:
    parser = etree.XMLParser(
        target=counted, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True, encoding=source.encoding,
    )  # fmt: skip
    quiet = 0
    while piece := _piece(source):
        done = 0
        ends = (found.end() for found in _END.finditer(piece))  # as needed: the next document looks again
        for end in itertools.chain(ends, (len(piece),)):
            before = counted.starts
            try:
                parser.feed(piece[done:end])
            except etree.XMLSyntaxError as error:
                yield from counted.taken()
                if counted.ended:  # by a tag that _END does not know
                    return
                raise BrokenSource("malformed_xml", f"not well-formed XML: {error.msg}") from error
            except BrokenSource:
                yield from counted.taken()
                raise
            yield from counted.taken()
            quiet = 0 if counted.starts > before else quiet + end - done
            done = end
            if counted.ended:
                source.file.unread(piece[done:])
                return
        if quiet > MAX_TOKEN_BYTES:
            raise BrokenSource(
                "malformed_xml", f"a tag, comment or text of more than {MAX_TOKEN_BYTES} bytes"
            )
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        yield from counted.taken()
        raise BrokenSource("malformed_xml", f"not well-formed XML: {error.msg}") from error
    yield from counted.taken()


def _piece(source: XmlSource) -> bytes:
    """Some bytes that do not end within the tag that ends a document; none at the end."""
    piece = source.file.head(READ_BYTES)
    tag = piece.rfind(b"</")
    whole = tag <= 0 or len(piece) - tag > LONGEST_END or b">" in piece[tag:]
    return source.file.read1(len(piece) if whole else tag)


class _Counted:
    """The collector as libxml2 sees it, with the depth and a count of elements."""

    def __init__(self, collector: Collector) -> None:
        self.starts = self.depth = 0
        self._collector = collector
        self.doctype, self.close = collector.doctype, collector.close

    @property
    def ended(self) -> bool:
        """Whether the root has ended, and with it the document."""
        return self.starts > 0 and self.depth == 0

    def taken(self) -> list[Line]:
        """The records since the last call."""
        found, self._collector.found = self._collector.found, []
        return found

    def data(self, text: str) -> None:
        self._collector.data(text.replace(NO_TEXT, HALF) if NO_TEXT in text else text)

    def start(self, tag: str, attributes: Any) -> None:
        self.starts += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BrokenSource("malformed_xml", f"elements {MAX_DEPTH} deep, no feed or sitemap is")
        self._collector.start(tag, attributes)

    def end(self, tag: str) -> None:
        self.depth -= 1
        self._collector.end(tag)
