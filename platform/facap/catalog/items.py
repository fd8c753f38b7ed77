"""Lines of any source -> ITEMS, and a count of what could not be used.

    >>> items = Items("feed.csv")
    >>> table = items.table([{"product_id": "p1", "category": "Midi Dresses", "url": "https://a.example/1.jpg"},
    ...                      {"product_id": "p2", "category": "hat", "url": "https://a.example/2.jpg"},
    ...                      {"product_id": "p3", "category": "top", "url": "ftp://a.example/3.jpg"}])
    >>> table.column("category").to_pylist(), dict(items.failures), dict(items.unmapped)
    (['dress', 'unmapped'], {'bad_url': 1}, {'hat': 1})

Reasons: missing_product_id, missing_url, bad_url, bad_text, and those of the readers. A repeated
(product_id, url) is one item. A category that maps nowhere is kept as `unmapped`, with the shop's name for
it among the attributes. Columns that ITEMS does not know become attributes. A line without title or category
has those of the line before if that is of the same product: Shopify's tables say them once a product.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from facap.catalog.categories import Categories
from facap.catalog.columns import Columns
from facap.catalog.lines import Line, Unreadable
from facap.catalog.seen import Seen
from facap.errors import ContractError
from facap.quoting import SHOWN, shown, without_secrets
from facap.schemas import ITEMS, UNMAPPED, from_rows

ROWS_PER_PART = 20_000
ITEM_ID_LENGTH = 32  # hex digits
MAX_COLUMNS = 1000  # that are remembered for an error message
MAX_NAMES = 1000  # of unmapped categories that are told apart
OTHERS = "(others)"
NO_NAME = "(none)"
COLUMNS_SHOWN = 1000  # characters of them in an error message


class Unusable(ValueError):
    """A line that makes no item; the first argument is the reason."""


def item_id(product_id: str, url: str) -> str:
    """The same for the same product and address, always."""
    return hashlib.sha256(json.dumps([product_id, url]).encode()).hexdigest()[:ITEM_ID_LENGTH]


class Items:
    """Turns lines into tables of ITEMS, and remembers what went wrong where.

    `source`: what the rows' column of that name says; it may change between lines. `default_category`: of
    items that name none, or one that the table does not know.
    """

    def __init__(
        self,
        source: str,
        columns: Columns | None = None,
        categories: Categories | None = None,
        default_category: str = "",
    ) -> None:
        self.source = source
        self.lines = self.repeated = 0  # lines: one for each image that a line of the source holds
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}  # reason -> the first line it was seen on
        self.unmapped: Counter[str] = Counter()  # the shop's name -> items
        self.columns: dict[str, None] = {}  # in the order in which they were seen
        self._mapping = columns or Columns()
        self._categories = categories or Categories.load()
        self._default = default_category
        self._seen = Seen()
        self._before: dict[str, Any] = {}  # the image before

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
        missing = self._mapping.missing(self.columns) if self.columns else ""
        if missing and not (missing == "category" and self._default):
            has = shown(", ".join(self.columns), COLUMNS_SHOWN)
            heading = self.examples.get("bad_heading", "")
            raise ContractError(
                f"manifest '{without_secrets(self.source)}' has no column '{missing}'; it has: {has}; "
                f"name it in catalog.columns"
                + (" or set catalog.default_category" if missing == "category" else "")
                + (f"; {heading}" if heading else "")
            )

    def _rows(self, lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
        for line in lines:
            if isinstance(line, Unreadable):
                self.lines += 1
                self._failed(line.reason, line.seen)
                continue
            if len(self.columns) < MAX_COLUMNS:
                self.columns.update(dict.fromkeys(name[:SHOWN] for name in line))
            for image in self._mapping.images(line):
                self.lines += 1
                self._before = image = _filled(image, self._before)
                try:
                    row = self._item(image)
                except Unusable as error:
                    self._failed(str(error.args[0]), line)
                    continue
                if not self._seen.add(row["item_id"]):
                    self.repeated += 1
                    continue
                if row["category"] == UNMAPPED:
                    self._count_unmapped(row["attributes"].get("category", NO_NAME)[:SHOWN])
                yield row

    def _failed(self, reason: str, seen: object) -> None:
        self.failures[reason] += 1
        if reason not in self.examples:
            self.examples[reason] = f"record {self.lines}: {shown(without_secrets(seen))}"

    def _item(self, image: dict[str, Any]) -> dict[str, Any]:
        product_id, url = _text(image["product_id"]), _text(image["url"])
        for name, value in (("product_id", product_id), ("url", url)):
            if not value:
                raise Unusable(f"missing_{name}")
        _check_url(url)
        title = _text(image["title"])
        names = [_text(name) for name in image["category"]]
        attributes = _attributes(image["attributes"])
        category = self._category(names)
        said = " | ".join(dict.fromkeys(names))
        if said and said.lower() != category:  # what the shop says, where we say it otherwise
            attributes = {**attributes, "category": said}
        return {
            "item_id": item_id(product_id, url),
            "product_id": product_id,
            "category": category,
            "url": url,
            "title": title or None,
            "attributes": attributes,
            "source": self.source,
        }

    def _category(self, names: list[str]) -> str:
        """Ours for the first of the shop's `names` that has one."""
        found = [self._categories.of(name) for name in names]
        for category in found:
            if category and category != UNMAPPED:
                return category
        return self._default if self._default and UNMAPPED not in found else UNMAPPED

    def _count_unmapped(self, name: str) -> None:
        if name not in self.unmapped and len(self.unmapped) >= MAX_NAMES:
            name = OTHERS
        self.unmapped[name] += 1


def _filled(image: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """`image` with the title and category of the one before where it has none, if both are of one product."""
    if image["product_id"] is None or image["product_id"] != before.get("product_id"):
        return image
    return {**image, **{name: image[name] or before[name] for name in ("title", "category")}}


def _text(value: Any) -> str:
    if value is None:
        return ""
    try:
        text = value.strip() if isinstance(value, str) else json.dumps(value, default=str)
        text.encode()
    except UnicodeEncodeError as error:  # not UTF-8, or half a surrogate pair in JSON; Arrow cannot hold it
        raise Unusable("bad_text") from error
    except (RecursionError, ValueError) as error:  # nested too deep to be written again
        raise Unusable("bad_text") from error
    return text


def _attributes(rest: dict[str, Any]) -> dict[str, str]:
    """The columns that are left, and what one named `attributes` holds: a mapping, pairs, or one text."""
    value = rest.get("attributes")
    if isinstance(value, list) and all(isinstance(v, tuple | list) and len(v) == 2 for v in value):
        value = {_text(name): v for name, v in value}
    if not isinstance(value, dict):
        value = {"attributes": value}
    columns = {name: v for name, v in rest.items() if name != "attributes"}
    texts = ((_text(name), _text(v)) for name, v in {**value, **columns}.items())
    return {name: text for name, text in texts if text}


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise Unusable("bad_url")
