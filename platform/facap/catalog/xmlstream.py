"""XML in pieces, hardened: no document types, hence no entities of its own, and nothing is held but a record.

    >>> import io
    >>> class Names(Collector):
    ...     def start(self, tag, attributes):
    ...         self.found.append({"tag": tag})
    >>> list(records(io.BytesIO(b"<a><b/></a>"), Names()))
    [{'tag': 'a'}, {'tag': 'b'}]

Feeds and sitemaps need no DOCTYPE, and every entity bomb and every read of a local file needs one: it is
refused outright. libxml2 bounds the depth and the length of names; here a token and a record are bounded.
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from lxml import etree

from facap.catalog.lines import READ_BYTES, BrokenSource, Line, Unreadable

MAX_TOKEN_BYTES = 1 << 20  # without the start of an element
MAX_DEPTH = 64  # of elements; feeds have five levels
MAX_RECORD = 1 << 20  # characters and elements of one item, entry or url; a product takes a few thousand


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


def records(file: BinaryIO, collector: Collector) -> Iterator[Line]:
    """What `collector` finds, as it finds it; raises BrokenSource where the XML is not well-formed."""
    counted = _Counted(collector)
    parser = etree.XMLParser(
        target=counted, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    quiet = 0
    while True:
        piece = file.read(READ_BYTES)
        before = counted.starts
        try:
            if piece:
                parser.feed(piece)
            else:
                parser.close()
        except etree.XMLSyntaxError as error:
            yield from _taken(collector)
            raise BrokenSource("malformed_xml", f"not well-formed XML: {error.msg}") from error
        except BrokenSource:
            yield from _taken(collector)
            raise
        yield from _taken(collector)
        if not piece:
            return
        quiet = 0 if counted.starts > before else quiet + len(piece)
        if quiet > MAX_TOKEN_BYTES:
            raise BrokenSource(
                "malformed_xml", f"a tag, comment or text of more than {MAX_TOKEN_BYTES} bytes"
            )


def _taken(collector: Collector) -> list[Line]:
    found, collector.found = collector.found, []
    return found


class _Counted:
    """The collector as libxml2 sees it, with the depth and a count of elements."""

    def __init__(self, collector: Collector) -> None:
        self.starts = self.depth = 0
        self._collector = collector
        self.data, self.doctype, self.close = collector.data, collector.doctype, collector.close

    def start(self, tag: str, attributes: Any) -> None:
        self.starts += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BrokenSource("malformed_xml", f"elements {MAX_DEPTH} deep, no feed or sitemap is")
        self._collector.start(tag, attributes)

    def end(self, tag: str) -> None:
        self.depth -= 1
        self._collector.end(tag)
