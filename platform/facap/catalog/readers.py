"""A document of any kind -> its lines.

    >>> sorted(STREAMED)  # and Parquet, which has to be a file
    ['csv', 'feed', 'jsonl', 'page', 'sitemap', 'sitemapindex', 'tsv']

Whatever the bytes are, a reader yields lines and Unreadables, the last of them perhaps a Lost, and raises
nothing.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from facap.catalog.documents import Document
from facap.catalog.feeds import feed_lines
from facap.catalog.lines import GZIP, BrokenSource, Line, open_bounded, read_or_say
from facap.catalog.manifests import csv_lines, json_lines, parquet_lines, tsv_lines
from facap.catalog.product_pages import MAX_PAGE_BYTES, page_lines
from facap.catalog.sitemaps import entries, image_lines


def _page(file: BinaryIO) -> Iterator[Line]:
    yield from page_lines(file.read(MAX_PAGE_BYTES + 1))


def _sitemap(file: BinaryIO) -> Iterator[Line]:
    return image_lines(entries(file))


def _nothing(file: BinaryIO) -> Iterator[Line]:
    return iter(())  # an index: its parts are documents of their own


STREAMED: dict[str, Callable[[BinaryIO], Iterator[Line]]] = {
    "csv": csv_lines, "tsv": tsv_lines, "jsonl": json_lines, "feed": feed_lines, "sitemap": _sitemap,
    "page": _page, "sitemapindex": _nothing,
}  # fmt: skip


def read_lines(document: Document, max_bytes: int) -> Iterator[Line]:
    """The lines of a document, unpacked up to `max_bytes`; the last is Lost if it breaks off."""
    return read_or_say(_lines(document, max_bytes), document.name)


def _lines(document: Document, max_bytes: int) -> Iterator[Line]:
    try:
        if document.kind == "parquet":
            yield from _parquet(document.path)
            return
        with open_bounded(document.path, max_bytes) as file:
            yield from STREAMED[document.kind](file)
    except OSError as error:
        raise BrokenSource("source_unreadable", str(error.strerror or error)) from error


def _parquet(path: str) -> Iterator[Line]:
    with open(path, "rb") as file:
        if file.read(2) == GZIP:
            raise BrokenSource("malformed_parquet", "Parquet in gzip; Parquet compresses by itself")
    return parquet_lines(path)
