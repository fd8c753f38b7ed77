"""XML sitemaps and sitemap indexes (sitemaps.org), with Google's image extension.

    >>> import io
    >>> xml = (b'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
    ...        b'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url>'
    ...        b'<loc>https://a.example/dresses/wrap</loc>'
    ...        b'<image:image><image:loc>https://a.example/7.jpg</image:loc></image:image></url></urlset>')
    >>> list(entries(io.BytesIO(xml)))
    [{'page': 'https://a.example/dresses/wrap', 'images': [{'loc': 'https://a.example/7.jpg'}]}]
    >>> list(image_lines(entries(io.BytesIO(xml))))[0]["category"]
    'dresses'

A sitemap says nothing of products: the page stands for the product, the folders of its address for the
category.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from facap.catalog.lines import BrokenSource, Line, Unreadable
from facap.catalog.xmlstream import TOO_LARGE, Collector, name_of, records

IMAGE = "sitemap-image"  # of http://www.google.com/schemas/sitemap-image/1.1, which some spell otherwise
ROOTS = ("urlset", "sitemapindex")
MAX_ENTRIES = 50_000  # of one file, by the protocol


class _Entries(Collector):
    """{"page", "images"} a <url>, {"sitemap"} a <sitemap>."""

    def __init__(self) -> None:
        super().__init__()
        self.path: list[tuple[str, str]] = []
        self.loc = ""
        self.images: list[dict[str, str]] = []
        self.text: list[str] = []
        self.rooted = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        namespace, name = name_of(tag)
        self.path.append((IMAGE if IMAGE in namespace else namespace, name))
        if not self.rooted:
            self.rooted = True
            if name not in ROOTS:
                raise BrokenSource(
                    "not_a_sitemap", f"the root is <{name}>, expected one of {', '.join(ROOTS)}"
                )
        if len(self.path) == 2:
            self.loc, self.images, self.size = "", [], 0
        elif self.path[2:] == [(IMAGE, "image")] and not self.oversized:
            self.images.append({})
        self.size += 1
        self.text = []

    def data(self, text: str) -> None:
        self.size += len(text)
        if not self.oversized:
            self.text.append(text)

    def end(self, tag: str) -> None:
        namespace, name = self.path[-1]
        value = "".join(self.text).strip()
        self.text = []
        if len(self.path) == 3 and name == "loc" and namespace != IMAGE:
            self.loc = value
        elif len(self.path) == 4 and self.path[2] == (IMAGE, "image") and namespace == IMAGE and value:
            self.images[-1].setdefault(name, value)
        elif len(self.path) == 2:
            self._entry(name)
            self.size = 0
        self.path.pop()

    def _entry(self, name: str) -> None:
        if name not in ("url", "sitemap"):
            return
        if self.oversized:
            self.found.append(TOO_LARGE)
            return
        if not self.loc:
            self.found.append(Unreadable("missing_loc", f"a <{name}> without <loc>"))
        elif name == "sitemap":
            self.found.append({"sitemap": self.loc})
        else:
            self.found.append({"page": self.loc, "images": self.images})


def entries(file: BinaryIO) -> Iterator[Line]:
    """{"page", "images"} for each page, {"sitemap"} for each part of an index; BrokenSource where it ends."""
    return records(file, _Entries)


def image_lines(found: Iterable[Line]) -> Iterator[Line]:
    """One line a picture; a page without any is Unreadable, since it gives no item."""
    for entry in found:
        if isinstance(entry, Unreadable):
            yield entry
        elif "page" in entry:
            pictures = [image for image in entry["images"] if "loc" in image]
            if not pictures:
                yield Unreadable("no_image", str(entry["page"])[:200])
            for image in pictures:
                yield {
                    "product_id": entry["page"],
                    "url": image["loc"],
                    "title": image.get("title") or image.get("caption"),
                    "category": folders(entry["page"]),
                    "page": entry["page"],
                }


def folders(address: str) -> str:
    """The folders of an address as a path of categories.

    >>> folders("https://a.example/women/midi-dresses/wrap-dress.html")
    'women > midi-dresses'
    """
    try:
        path = urlsplit(address).path
    except ValueError:
        return ""
    return " > ".join(unquote(part) for part in path.split("/")[:-1] if part)
