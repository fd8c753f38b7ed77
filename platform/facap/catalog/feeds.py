"""Google Merchant product feeds, RSS 2.0 and Atom -> one line an item.

    >>> import io
    >>> xml = (b'<rss xmlns:g="http://base.google.com/ns/1.0"><channel><item><title>Wrap dress</title>'
    ...        b'<g:id>7</g:id><g:image_link>https://a.example/7.jpg</g:image_link></item></channel></rss>')
    >>> list(feed_lines(io.BytesIO(xml)))
    [{'title': 'Wrap dress', 'id': '7', 'image_link': 'https://a.example/7.jpg'}]

A line has the names of Google's product data specification without "g:"; what is there several times
(additional_image_link, product_type) is a list. Groups such as g:shipping are left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from facap.catalog.lines import BrokenSource, Line
from facap.catalog.xmlstream import TOO_LARGE, Collector, name_of, records

GOOGLE = "base.google.com/ns/"  # of http://base.google.com/ns/1.0, which some spell with https
PLAIN = ("", "http://www.w3.org/2005/Atom", "http://purl.org/rss/1.0/")
ROOTS = ("rss", "feed", "RDF")
RECORDS = ("item", "entry")


class _Items(Collector):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0  # 1: an item or entry, 2: a field of it
        self.fields: dict[str, Any] = {}  # g:
        self.plain: dict[str, Any] = {}  # of RSS or Atom themselves
        self.text: list[str] = []
        self.rooted = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        namespace, name = name_of(tag)
        if not self.rooted:
            self.rooted = True
            if name not in ROOTS:
                raise BrokenSource("not_a_feed", f"the root is <{name}>, expected <rss> or <feed>")
        if self.depth:
            self.depth += 1
            self.size += 1
            if self.depth == 2:
                self.text = []
                if (
                    name == "link"
                    and namespace in PLAIN
                    and attributes.get("rel", "alternate") == "alternate"
                ):
                    self.text.append(attributes.get("href", ""))  # Atom; RSS has it as text
            elif self.depth == 3:
                self.text = []  # a group: its parts are not fields
        elif name in RECORDS and namespace in PLAIN:
            self.depth, self.size = 1, 0

    def data(self, text: str) -> None:
        if self.depth:
            self.size += len(text)
            if self.depth == 2 and not self.oversized:
                self.text.append(text)

    def end(self, tag: str) -> None:
        if self.depth == 1:
            self.found.append(TOO_LARGE if self.oversized else {**self.plain, **self.fields})
            self.fields, self.plain = {}, {}
        elif self.depth == 2 and not self.oversized:
            namespace, name = name_of(tag)
            value = "".join(self.text).strip()
            if value and GOOGLE in namespace:
                _add(self.fields, name, value)
            elif value and namespace in PLAIN:  # some feeds leave the g: out
                _add(self.plain, name, value)
            self.text = []
        self.depth = max(0, self.depth - 1)


def _add(fields: dict[str, Any], name: str, value: str) -> None:
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


def feed_lines(file: BinaryIO) -> Iterator[Line]:
    """One line an <item> or <entry>; raises BrokenSource where the feed cannot be read on."""
    return records(file, _Items)
