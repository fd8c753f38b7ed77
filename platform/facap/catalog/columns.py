"""Which column of a line is what: by the user's mapping, else by the names that feeds use.

    >>> columns = Columns({"product_id": "sku", "url": "picture"})
    >>> next(columns.images({"sku": "7", "picture": "https://a.example/7.jpg", "brand": "X"}))["product_id"]
    '7'

One line gives one image for each address it holds: Google's feeds name the further views of a product in
additional_image_link.
"""

from collections.abc import Iterator, Mapping
from typing import Any

FIELDS: dict[str, tuple[str, ...]] = {
    "product_id": ("product_id", "item_group_id", "id"),
    "category": ("category", "google_product_category", "product_type"),
    "url": ("url", "image_link"),
    "more_urls": ("additional_image_link",),
    "title": ("title",),
}
"""Our field -> the columns it is read from: the first that is not empty; for category, all in turn."""

REQUIRED = ("product_id", "category", "url")


class Columns:
    """Reads lines by FIELDS, with `mapping` (our field -> column) in the place of what is there."""

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.names = {**FIELDS, **{field: (column,) for field, column in (mapping or {}).items()}}

    def images(self, line: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The line once for each image: product_id, category (a list of names), url, title, attributes."""
        taken = {name for field, names in self.names.items() for name in self._used(field, names, line)}
        row = {
            "product_id": self._first(line, "product_id"),
            "category": [name for column in self.names["category"] for name in _each(line.get(column))],
            "title": self._first(line, "title"),
            "attributes": {name: value for name, value in line.items() if name not in taken},
        }
        first = _each(self._first(line, "url"))
        more = [url for column in self.names["more_urls"] for url in _addresses(line.get(column))]
        for url in list(dict.fromkeys(map(_plain, [*first, *more]))) or [None]:
            yield {**row, "url": url}

    def missing(self, seen: Mapping[str, Any]) -> str:
        """The first required field that none of the columns `seen` holds; "" if all are there."""
        for field in REQUIRED:
            if not any(name in seen for name in self.names[field]):
                return field
        return ""

    def _first(self, line: dict[str, Any], field: str) -> Any:
        return next((line[name] for name in self.names[field] if not _empty(line.get(name))), None)

    def _used(self, field: str, names: tuple[str, ...], line: dict[str, Any]) -> tuple[str, ...]:
        if field in ("category", "more_urls"):
            return names
        used = next((i for i, name in enumerate(names) if not _empty(line.get(name))), len(names))
        return names[: used + 1]


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _each(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [v for v in value if not _empty(v)]
    return [] if _empty(value) else [value]


def _addresses(value: Any) -> list[Any]:
    """Addresses in a list, or in a text where commas part them, as in tab-separated feeds."""
    found: list[Any] = []
    for each in _each(value):
        found += _each([part.strip() for part in each.split(",")]) if isinstance(each, str) else [each]
    return found


def _plain(url: Any) -> Any:
    return url.strip() if isinstance(url, str) else str(url)
