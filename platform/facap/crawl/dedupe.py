"""Which rows show the same picture, and which row stands for it.

>>> duplicates({"b": "x", "a": "x", "c": "y"})
{'b': 'a'}
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.crawl.likeness import SIDE, thumbnail
from facap.crawl.near import representatives
from facap.schemas import OK
from facap.store import Stage

COLUMNS = ["item_id", "image_id", "status", "width", "height", "phash", "duplicate_of"]


def duplicates(image_ids: Mapping[str, str]) -> dict[str, str]:
    """item_id -> the smallest item_id with the same image_id, for every item that is not that one."""
    first: dict[str, str] = {}
    for item_id in sorted(image_ids):
        first.setdefault(image_ids[item_id], item_id)
    return {item: first[image] for item, image in image_ids.items() if first[image] != item}


class Met:
    """Pictures that a worker has met lately: what repeats one is marked as it is written.

    Variants of a product share pictures and stand near each other in feeds, and a part whose rows are marked
    already need not be written once more. Which row stands for all is for mark_duplicates() to say.
    """

    def __init__(self, most: int = 100_000) -> None:  # about 25 MB
        self._first: dict[str, str] = {}
        self._most = most

    def mark(self, row: dict[str, Any]) -> None:
        """Sets `duplicate_of` of a good row whose picture an item of smaller id has."""
        image, item = row["image_id"], row["item_id"]
        first = self._first.setdefault(image, item)
        if first < item:
            row["duplicate_of"] = first
        else:
            self._first[image] = item
        if len(self._first) > self._most:
            del self._first[next(iter(self._first))]


def mark_duplicates(stage: Stage, near: bool = True) -> int:
    """Sets `duplicate_of` in the parts of IMAGES, also where an earlier run set it otherwise.

    Of equal bytes the smallest item_id stays; of pictures that are the same but for size, crop or mark
    (if `near`) the one with most pixels, and of these the smallest item_id. Only parts that change are
    written, each atomically, so a kill half-way is made good by the next run. Returns the number of
    duplicates.
    """
    parts = {part: stage.read_part(part, COLUMNS) for part in stage.parts("part-")}
    if not parts:
        return 0
    rows = pa.concat_tables(parts.values())
    rows = rows.filter(pc.equal(rows.column("status"), OK))
    columns = {name: rows.column(name).to_pylist() for name in ("item_id", "image_id", "phash")}
    found = duplicates(dict(zip(columns["item_id"], columns["image_id"], strict=True)))
    if near:
        pixels = pc.multiply(rows.column("width"), rows.column("height")).to_pylist()
        firsts = [
            (-size, item, bits)
            for item, bits, size in zip(columns["item_id"], columns["phash"], pixels, strict=True)
            if item not in found
        ]
        found |= _near(stage, parts, sorted(firsts))
        found = {item: found.get(first, first) for item, first in found.items()}

    def mark(part: str) -> None:
        wanted = [found.get(item) for item in parts[part].column("item_id").to_pylist()]
        if wanted != parts[part].column("duplicate_of").to_pylist():
            table = stage.read_part(part)
            index = table.schema.get_field_index("duplicate_of")
            stage.replace(part, table.set_column(index, "duplicate_of", pa.array(wanted, pa.string())))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(mark, parts))
    return len(found)


def _near(
    stage: Stage, parts: Mapping[str, pa.Table], firsts: Sequence[tuple[int, str, str]]
) -> dict[str, str]:
    items = [item for _, item, _ in firsts]
    with tempfile.TemporaryFile() as scratch:  # of millions they need not fit into memory

        def thumbnails_of(places: list[int]) -> np.ndarray:
            shape = (len(places), SIDE, SIDE, 3)
            pictures = np.memmap(scratch, np.uint8, "w+", shape=shape)  # type: ignore[call-overload]
            number_of = {items[place]: number for number, place in enumerate(places)}
            wanted = pa.array(number_of, pa.string())
            for part, rows in parts.items():
                here = pc.is_in(rows.column("item_id"), value_set=wanted)
                if not pc.any(here).as_py():
                    continue
                for row in stage.read_part(part, ["item_id", "bytes"]).filter(here).to_pylist():
                    pictures[number_of[row["item_id"]]] = thumbnail(row["bytes"])
            return pictures

        standing = representatives([bits for _, _, bits in firsts], thumbnails_of)
    return {items[place]: items[leader] for place, leader in enumerate(standing) if leader != place}
