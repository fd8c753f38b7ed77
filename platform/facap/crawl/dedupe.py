"""Which rows show the very same picture, and which row stands for it.

>>> duplicates({"b": "x", "a": "x", "c": "y"})
{'b': 'a'}
"""

from collections.abc import Mapping

import pyarrow as pa

from facap.schemas import OK
from facap.store import Stage


def duplicates(image_ids: Mapping[str, str]) -> dict[str, str]:
    """item_id -> the smallest item_id with the same image_id, for every item that is not that one."""
    first: dict[str, str] = {}
    for item_id in sorted(image_ids):
        first.setdefault(image_ids[item_id], item_id)
    return {item: first[image] for item, image in image_ids.items() if first[image] != item}


def mark_duplicates(stage: Stage) -> int:
    """Sets `duplicate_of` in the parts of IMAGES, also where an earlier run set it otherwise.

    Only parts that change are written, each atomically, so a kill half-way is made good by the
    next run. Returns the number of duplicates.
    """
    rows = stage.read(["item_id", "image_id", "status"]).to_pylist()
    found = duplicates({r["item_id"]: r["image_id"] for r in rows if r["status"] == OK})
    for part in stage.parts("part-"):
        now = stage.read_part(part, ["item_id", "duplicate_of"])
        wanted = [found.get(item) for item in now.column("item_id").to_pylist()]
        if wanted != now.column("duplicate_of").to_pylist():
            table = stage.read_part(part)
            index = table.schema.get_field_index("duplicate_of")
            stage.replace(part, table.set_column(index, "duplicate_of", pa.array(wanted, pa.string())))
    return len(found)
