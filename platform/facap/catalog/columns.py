"""Which column of a line is what: by the user's mapping, else by the names that feeds use.

    >>> columns = Columns({"product_id": "sku", "url": "picture"})
    >>> next(columns.images({"sku": "7", "picture": "https://a.example/7.jpg", "brand": "X"}))["product_id"]
    '7'

A column is found in other spellings too ("Image Link", "image-link"), if none is spelled as asked for. One
line gives one image for each address it holds: Google's feeds name the further views of a product in
additional_image_link, WooCommerce's tables have all in one cell.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from facap.quoting import shown

FIELDS: dict[str, tuple[str, ...]] = {
    "product_id": ("product_id", "item_group_id", "id"),
    "category": ("category", "google_product_category", "product_type"),
    "url": ("url", "image_link"),
    "more_urls": ("additional_image_link",),
    "title": ("title",),
}
"""Our field -> the columns it is read from: the first that is not empty; for category, all in turn."""

REQUIRED = ("product_id", "category", "url")
REMEMBERED = 64  # sets of columns; a table has one
SEPARATORS = ",;| \t\r\n"  # of addresses in one text; within an address they are part of it
_NEXT = re.compile(rf"[{SEPARATORS}]+(?=https?://)", re.IGNORECASE)


class Columns:
    """Reads lines by FIELDS, with `mapping` (our field -> column) in the place of what is there."""

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.names = {**FIELDS, **{field: (column,) for field, column in (mapping or {}).items()}}
        self._there = functools.lru_cache(REMEMBERED)(self._find)

    def images(self, line: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The line once for each image: product_id, category (a list of names), url, title, attributes."""
        there = self._there(tuple(line))
        taken = {name for field, names in there.items() for name in _used(field, names, line)}
        row = {
            "product_id": _first(line, there["product_id"]),
            "category": [name for column in there["category"] for name in _each(line[column])],
            "title": _first(line, there["title"]),
            "attributes": {name: value for name, value in line.items() if name not in taken},
        }
        values = [_first(line, there["url"]), *(line[column] for column in there["more_urls"])]
        urls = [url for value in values for url in addresses(value)]
        found: list[str | None] = [*dict.fromkeys(urls)]
        for url in found or [None]:
            yield {**row, "url": url}

    def missing(self, seen: Iterable[str]) -> str:
        """The first required field that none of the columns `seen` holds; "" if all are there."""
        there = self._there(tuple(seen))
        return next((field for field in REQUIRED if not there[field]), "")

    def _find(self, columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Each field with those of its columns that are there, in the order in which they count."""
        spelled = {_spelled(column): column for column in reversed(columns)}
        found = {}
        for field, names in self.names.items():
            exact = tuple(name for name in names if name in columns)
            found[field] = exact or tuple(spelled[n] for n in map(_spelled, names) if n in spelled)
        return found


def addresses(value: Any) -> list[str]:
    """The addresses in a list, or in a text with commas, semicolons, bars or blanks between them.

    >>> addresses("https://a.example/w_800,h_1000/1.jpg, https://a.example/2.jpg")
    ['https://a.example/w_800,h_1000/1.jpg', 'https://a.example/2.jpg']
    """
    texts = [each if isinstance(each, str) else shown(each) for each in _each(value)]
    parts = [part.strip().strip(SEPARATORS) for text in texts for part in _NEXT.split(text)]
    return [part for part in parts if part]


def _spelled(name: str) -> str:
    return "_".join(re.split(r"[\s_-]+", name.strip().casefold()))


def _first(line: dict[str, Any], names: Iterable[str]) -> Any:
    return next((line[name] for name in names if not _empty(line[name])), None)


def _used(field: str, names: tuple[str, ...], line: dict[str, Any]) -> tuple[str, ...]:
    if field in ("category", "more_urls"):
        return names
    used = next((i for i, name in enumerate(names) if not _empty(line[name])), len(names))
    return names[: used + 1]


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _each(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [v for v in value if not _empty(v)]
    return [] if _empty(value) else [value]
