"""The catalogue as the gateway shows it: what the index holds, and the pictures' JPEG bytes.

The pictures come from the very IMAGES parts that the index was made from. They are held in memory
up to `image_cache_bytes` (4,100 pictures of the demo catalogue: about 60 MB); a larger catalogue
costs one row-group read a picture, for which a CDN in front is the better answer.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from facap.errors import DatasetMissing
from facap.index.build import read_ids, read_metadata
from facap.store import Store

GROUPS_KEPT = 8  # row groups that stay in memory when pictures are read one by one


@dataclass(frozen=True)
class Card:
    """One picture of the catalogue, as the page shows it."""

    image_id: str
    product_id: str
    category: str


class Catalogue:
    """Which pictures there are, in a fixed shuffled order, and which belong to one product."""

    def __init__(self, ids: pa.Table) -> None:
        rows = ids.select(["image_id", "product_id", "category"]).to_pylist()
        self.cards = {row["image_id"]: Card(**row) for row in rows}
        self._of_product: dict[str, list[str]] = {}
        for card in self.cards.values():
            self._of_product.setdefault(card.product_id, []).append(card.image_id)
        shuffled = sorted(
            self.cards.values(), key=lambda card: hashlib.sha256(card.image_id.encode()).digest()
        )
        shown: dict[str, Card] = {}  # one picture a product, so that the page shows garments, not views
        for card in shuffled:
            shown.setdefault(card.product_id, card)
        self.shown = list(shown.values())

    def page(self, offset: int, limit: int, category: str | None) -> tuple[list[Card], int]:
        """A piece of the shuffled catalogue, and how many there are in all."""
        cards = [card for card in self.shown if category in (None, card.category)]
        return cards[offset : offset + limit], len(cards)

    def counts(self) -> dict[str, int]:
        """Category -> number of products."""
        counts: dict[str, int] = {}
        for card in self.shown:
            counts[card.category] = counts.get(card.category, 0) + 1
        return dict(sorted(counts.items()))

    def excluded(self, image_id: str, same_product: bool) -> list[str]:
        """The pictures that must not answer a query by `image_id`."""
        return self._of_product[self.cards[image_id].product_id] if same_product else [image_id]


class Pictures:
    """image_id -> JPEG bytes."""

    def __init__(self, files: list[str], wanted: set[str], cache_bytes: int) -> None:
        self._files = files
        self._held: dict[str, bytes] = {}
        self._place: dict[str, tuple[int, int, int]] = {}  # image_id -> file, row group, row
        self._group = lru_cache(GROUPS_KEPT)(self._read_group)
        size = 0
        for number, path in enumerate(files):
            with _open(path) as part:
                for group in range(part.num_row_groups):
                    names = part.read_row_group(group, columns=["image_id", "duplicate_of"])
                    for row, (name, twin) in enumerate(
                        zip(*(c.to_pylist() for c in names.columns), strict=True)
                    ):
                        if name in wanted and twin is None:
                            self._place[name] = (number, group, row)
                    size += _column_bytes(part, group, "bytes")
        missing = wanted - set(self._place)
        if missing:
            raise DatasetMissing(
                f"IMAGES: {len(missing)} of the index's {len(wanted)} pictures are not in the parts that it "
                "was made from; run the job build_index again"
            )
        if size <= cache_bytes:
            in_order = sorted(wanted, key=self._place.__getitem__)
            self._held = {name: self._from_group(name) for name in in_order}
            self._group.cache_clear()

    @property
    def in_memory(self) -> bool:
        """Whether every picture is held in memory."""
        return bool(self._held)

    def get(self, image_id: str) -> bytes | None:
        """The JPEG of a picture, or None if the catalogue has none of that name."""
        if image_id not in self._place:
            return None
        return self._held.get(image_id) or self._from_group(image_id)

    def _from_group(self, image_id: str) -> bytes:
        number, group, row = self._place[image_id]
        return self._group(number, group)[row].as_py()

    def _read_group(self, number: int, group: int) -> pa.ChunkedArray:
        with _open(self._files[number]) as part:
            return part.read_row_group(group, columns=["bytes"]).column(0)


def _open(path: str) -> pq.ParquetFile:
    fs, base = FileSystem.from_uri(path)
    return pq.ParquetFile(base, filesystem=fs)


def _column_bytes(part: pq.ParquetFile, group: int, column: str) -> int:
    row_group = part.metadata.row_group(group)
    place = part.schema_arrow.get_field_index(column)
    return int(row_group.column(place).total_uncompressed_size)


def open_catalogue(workspace: str, index_folder: str, cache_bytes: int) -> tuple[Catalogue, Pictures]:
    """What the gateway shows of the index in `index_folder`."""
    metadata = read_metadata(index_folder)
    catalogue = Catalogue(read_ids(index_folder))
    files = [Store(workspace).path("images", name) for name in metadata.image_files]
    try:
        return catalogue, Pictures(files, set(catalogue.cards), cache_bytes)
    except FileNotFoundError as error:
        raise DatasetMissing(
            f"IMAGES: a part that the index was made from is gone ({error}); run the job build_index again"
        ) from error
