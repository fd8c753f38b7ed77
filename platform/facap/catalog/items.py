"""A manifest (CSV, JSON Lines or Parquet) -> ITEMS, and a count of the lines that could not be used.

    >>> items = Items("feed.csv")
    >>> table = items.table([{"product_id": "p1", "category": "Dress", "url": "https://a.example/1.jpg"},
    ...                      {"product_id": "p2", "category": "hat", "url": "https://a.example/2.jpg"}])
    >>> table.num_rows, dict(items.failures)
    (1, {'unknown_category': 1})

Reasons: malformed_line, missing_<column>, unknown_category, bad_url, bad_text. A repeated
(product_id, url) is one item. Columns that ITEMS does not know become attributes.
"""

import csv
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from facap.errors import ConfigError, ContractError
from facap.schemas import CATEGORIES, ITEMS, from_rows

REQUIRED = ("product_id", "category", "url")
ROWS_PER_PART = 50_000
ITEM_ID_LENGTH = 32  # hex digits

Line = dict[str, Any] | None  # None: a line that is not a record


class Unusable(ValueError):
    """A line that makes no item; the first argument is the reason."""


def item_id(product_id: str, url: str) -> str:
    """The same for the same product and address, always."""
    return hashlib.sha256(json.dumps([product_id, url]).encode()).hexdigest()[:ITEM_ID_LENGTH]


class Items:
    """Turns lines into tables of ITEMS, and remembers what went wrong where."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines = self.repeated = 0
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}  # reason -> the first line it was seen on
        self.columns: dict[str, None] = {}  # in the order in which they were seen
        self._seen: set[str] = set()

    def tables(self, lines: Iterable[Line]) -> Iterator[pa.Table]:
        """The items of `lines` in tables of ROWS_PER_PART rows; equal lines give equal tables."""
        rows = self._rows(lines)
        while part := list(itertools.islice(rows, ROWS_PER_PART)):
            yield from_rows(part, ITEMS)

    def table(self, lines: Iterable[Line]) -> pa.Table:
        """The items of `lines` in one table."""
        return from_rows(list(self._rows(lines)), ITEMS)

    def check_columns(self) -> None:
        """Raises ContractError if a required column was on no line."""
        for name in REQUIRED:
            if self.columns and name not in self.columns:
                raise ContractError(
                    f"manifest '{self.source}' has no column '{name}'; it has: {', '.join(self.columns)}"
                )

    def _rows(self, lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
        for line in lines:
            self.lines += 1
            try:
                row = _item(line, self.source)
            except Unusable as error:
                reason = str(error.args[0])
                self.failures[reason] += 1
                self.examples.setdefault(reason, f"record {self.lines}: {str(line)[:200]}")
                row = None
            self.columns.update(dict.fromkeys(line or ()))
            if row is None:
                continue
            if row["item_id"] in self._seen:
                self.repeated += 1
            else:
                self._seen.add(row["item_id"])
                yield row


def _item(line: Line, source: str) -> dict[str, Any]:
    if line is None:
        raise Unusable("malformed_line")
    text = {name: _text(value) for name, value in line.items() if name != "attributes"}
    for name in REQUIRED:
        if not text.get(name):
            raise Unusable(f"missing_{name}")
    category = text["category"].lower()
    if category not in CATEGORIES:
        raise Unusable("unknown_category")
    _check_url(text["url"])
    extra = {name: text[name] for name in text if text[name] and name not in (*REQUIRED, "title")}
    return {
        "item_id": item_id(text["product_id"], text["url"]),
        "product_id": text["product_id"],
        "category": category,
        "url": text["url"],
        "title": text.get("title") or None,
        "attributes": {**_attributes(line.get("attributes")), **extra},
        "source": source,
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value.strip() if isinstance(value, str) else value
    text = text if isinstance(text, str) else json.dumps(text, default=str)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair, Arrow cannot hold it
        raise Unusable("bad_text") from error
    return text


def _attributes(value: Any) -> dict[str, str]:
    """What a column named `attributes` holds: a mapping, a list of pairs, or one text."""
    if isinstance(value, list) and all(isinstance(v, (tuple, list)) and len(v) == 2 for v in value):
        value = dict(value)
    if isinstance(value, dict):
        return {_text(name): _text(v) for name, v in value.items() if _text(v)}
    return {"attributes": _text(value)} if _text(value) else {}


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise Unusable("bad_url")


def read_lines(path: str) -> Iterator[Line]:
    """The records of a manifest, one at a time; ConfigError if the file cannot be read."""
    readers: dict[str, Callable[[str], Iterator[Line]]] = {
        ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet,
    }  # fmt: skip
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise ConfigError(f"manifest '{path}' should end in one of {', '.join(readers)}")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"manifest '{path}' should be UTF-8 text: {error}; save it as UTF-8") from error
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"manifest '{path}' cannot be read: {error}; set catalog.manifest to a file"
        ) from error


def _csv(path: str) -> Iterator[Line]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        while True:
            try:
                cells = next(reader, None)
            except csv.Error:
                yield None
                continue
            if cells is None:
                return
            if cells:  # a blank line is nothing
                yield dict(itertools.zip_longest(header, cells)) if len(cells) <= len(header) else None


def _json_lines(path: str) -> Iterator[Line]:
    with open(path, encoding="utf-8-sig") as file:
        for line in file:
            if line.strip():
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    record = None
                yield record if isinstance(record, dict) else None


def _parquet(path: str) -> Iterator[Line]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()
