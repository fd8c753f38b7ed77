"""The files that a source consists of: a file, a folder of files, an address, all parts of a sitemap index.

    >>> kind_of("shop.csv.gz", b""), kind_of("https://a.example/export?id=3", b"<?xml version='1.0'?><rss>")
    ('csv', 'feed')

What has an address is downloaded into a folder first, so that everything is read from files, and what a
version of ITEMS is made from can be hashed before it is made.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from facap.catalog.config import CatalogConfig
from facap.catalog.encodings import as_utf8
from facap.catalog.feeds import ROOTS as FEED_ROOTS
from facap.catalog.lines import BrokenSource, Line, Lost, Unreadable, lost, open_bounded
from facap.catalog.peeked import Peeked, pieces_of
from facap.catalog.sitemaps import entries
from facap.catalog.xmlstart import HEAD_BYTES, root_of, start_of
from facap.errors import ConfigError
from facap.quoting import printable, shown, without_secrets

SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".txt": "", ".xml": "", ".rss": "", ".atom": "", ".html": "page", ".htm": "page",
}  # fmt: skip
"""Ending of a name -> kind; "": the content says."""

MAX_SITEMAPS = 50_000  # parts of an index, by the protocol
MAX_INDEX_DEPTH = 3  # the protocol has one level; some shops nest
_ROOT = re.compile(rb"<\s*(?:[\w.-]+:)?([A-Za-z]\w*)")


@dataclass(frozen=True)
class Fetched:
    """What became of one address: a body, or the reason in snake_case and a sentence."""

    address: str
    body: bytes | None
    reason: str = ""
    error: str = ""


SOURCE, PAGE = "source", "page"

Fetch = Callable[[Iterable[str], int, str], Iterator[Fetched]]
"""Gets addresses, each body up to so many bytes, in order; the last argument says whether they are SOURCEs
(feeds, sitemaps) or product PAGEs. Jobs pass the crawl's polite and safe one."""


@dataclass(frozen=True)
class Document:
    """One file of a source: its name in ITEMS, where it lies, and its kind."""

    name: str
    path: str
    kind: str  # a value of SUFFIXES, feed, sitemap or sitemapindex


def is_address(name: str) -> bool:
    """Whether a source is fetched rather than opened."""
    return name.lower().startswith(("http://", "https://"))


def kind_of(name: str, head: bytes) -> str:
    """The kind of a document by the ending of its name, else by its first bytes; "" if it is none of ours."""
    path = re.split(r"[?#]", name)[0] if is_address(name) else name
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES and not is_address(name):
        return ""
    return SUFFIXES.get(suffix) or _sniffed(head)


def _sniffed(head: bytes) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    text = as_utf8(head).lstrip()
    if text.startswith(b"{"):
        return "jsonl"
    if not text.startswith(b"<") and start_of(text) < 0:
        return "tsv" if b"\t" in text.partition(b"\n")[0] else "csv"
    first = _ROOT.search(re.sub(rb"<!--.*?(-->|$)", b"", text, flags=re.DOTALL))
    name = "html" if first and first[1].lower() == b"html" else root_of(text)[1]
    if name in FEED_ROOTS:
        return "feed"
    known = {"urlset": "sitemap", "sitemapindex": "sitemapindex"}
    return known.get(name) or (
        "page" if b"<html" in text.lower() or b"<!doctype html" in text.lower() else ""
    )


def gather(config: CatalogConfig, fetch: Fetch | None, folder: str) -> Iterator[Document | Unreadable]:
    """The documents of `catalog.manifest`, downloads being put into `folder`; parts that fail are Lost.

    Raises ConfigError if the source itself cannot be had or is of no known kind.
    """
    source = config.manifest
    if is_address(source):
        (first,) = _download([source], fetch, config, folder, itertools.count())
        if isinstance(first, Unreadable):
            raise ConfigError(f"catalog.manifest {first.seen}; check the address and that crawl may fetch it")
        found: list[Document] = [first]
    elif Path(source).is_dir():
        files = sorted(p for p in Path(source).rglob("*") if p.is_file() and kind_of(p.name, b"x"))
        if not files:
            raise ConfigError(
                f"the folder '{printable(source)}' holds no file that ends in one of {', '.join(SUFFIXES)}"
            )
        found = [_local(str(path), config) for path in files]
    else:
        found = [_local(source, config)]
    yield from _with_parts(found, fetch, config, folder)


def _local(path: str, config: CatalogConfig) -> Document:
    name = without_secrets(printable(path))
    try:
        head = _head(path, config)
    except (OSError, ValueError) as error:  # ValueError: a zero in the name
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"manifest '{name}' cannot be read: {why}; set catalog.manifest to a file"
        ) from error
    kind = kind_of(path, head)
    if not kind:
        raise ConfigError(
            f"manifest '{name}' should end in one of {', '.join(SUFFIXES)}, with or without .gz, "
            "and hold a table, a feed, a sitemap or a page"
        )
    return Document(printable(path), path, kind)


def _head(path: str, config: CatalogConfig) -> bytes:
    try:
        with open_bounded(path, config.max_source_bytes) as file:
            return Peeked(pieces_of(file)).head(HEAD_BYTES)
    except BrokenSource:
        return b""


def _with_parts(
    found: list[Document], fetch: Fetch | None, config: CatalogConfig, folder: str
) -> Iterator[Document | Unreadable]:
    """The documents, each sitemap index followed by its parts, level by level."""
    seen = {document.name for document in found}
    numbers = itertools.count(1)
    for depth in range(MAX_INDEX_DEPTH + 1):
        yield from found
        addresses: list[str] = []
        for index in (d for d in found if d.kind == "sitemapindex"):
            for entry in parts_of(index, config):
                if isinstance(entry, Unreadable):
                    yield entry
                elif "sitemap" in entry and entry["sitemap"] not in seen:
                    seen.add(entry["sitemap"])
                    addresses.append(entry["sitemap"])
        if depth == MAX_INDEX_DEPTH or len(seen) > MAX_SITEMAPS:
            if addresses:
                yield Lost("too_many_sitemaps", f"{len(addresses)} more, e.g. {addresses[0]}")
            return
        found = []
        for document in _download(addresses, fetch, config, folder, numbers):
            if isinstance(document, Document) and document.kind in ("sitemap", "sitemapindex"):
                found.append(document)
            elif isinstance(document, Document):
                yield Lost("not_a_sitemap", f"{document.name} is a {document.kind}")
            else:
                yield document


def parts_of(index: Document, config: CatalogConfig) -> Iterator[Line]:
    """The entries of a sitemap or index; the last is Lost if it breaks."""
    try:
        with open_bounded(index.path, config.max_source_bytes) as file:
            yield from entries(file)
    except BrokenSource as error:
        yield lost(error, index.name)


def _download(
    addresses: list[str], fetch: Fetch | None, config: CatalogConfig, folder: str, numbers: Iterator[int]
) -> Iterator[Document | Unreadable]:
    if addresses and fetch is None:
        raise ConfigError(
            f"'{shown(without_secrets(addresses[0]))}' has to be fetched, "
            "which `python -m jobs.build_catalog` does"
        )
    if not addresses or fetch is None:
        return
    for answer in fetch(addresses, config.max_download_bytes, SOURCE):
        if answer.body is None:
            yield Lost(f"source_{answer.reason}", f"{answer.address}: {answer.error}")
            continue
        path = Path(folder) / str(next(numbers))
        path.write_bytes(answer.body)
        kind = kind_of(answer.address, _head(str(path), config))
        if kind:
            yield Document(answer.address, str(path), kind)
        else:
            yield Lost("source_unknown_kind", f"{answer.address}: no table, feed, sitemap or page")


def content_hash(documents: Iterable[Document]) -> str:
    """Of all documents, in order, with their names."""
    total = hashlib.sha256()
    for document in documents:
        with open(document.path, "rb") as file:
            total.update(f"{document.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
