"""What a crawl takes over from the version of IMAGES before it, when both have the same settings.

    before = version_before(store, config)      # None: nothing to take over
    carry_over(before, stage, items)            # good rows of items that are wanted still
    mark_vanished(before, stage, items)         # the others stay as rows without a picture

All of it may be done again after a kill: what is in the stage already is left alone.
"""

import pyarrow as pa
import pyarrow.compute as pc

from facap.crawl.config import CrawlConfig
from facap.schemas import IMAGES, OK, schema_version
from facap.store import Stage, Store, stage_key

VERSION = 3  # of what a crawl means; other versions' rows are not taken over
VANISHED = "vanished"  # the status of a picture whose item is gone


def crawl_key(settings: dict, inputs: dict[str, str]) -> str:
    """The key of the version of IMAGES that `settings` (see CrawlConfig.for_key) and `inputs` make."""
    return stage_key("crawl", VERSION, settings, inputs)


def version_before(store: Store, config: CrawlConfig) -> Stage | None:
    """The finished version of IMAGES, if the same settings made it; the round may be another."""
    manifest = store.manifest("images")
    if manifest is None or manifest.schema_version != schema_version(IMAGES):
        return None
    wanted = config.for_key()
    settings = {name: manifest.config.get(name) for name in wanted}
    if {**settings, "revalidate": ""} != {**wanted, "revalidate": ""}:
        return None
    if crawl_key(settings, manifest.inputs) != manifest.key:  # made by another version of this code
        return None
    return Stage(store, "images", IMAGES, manifest.key)


def is_new_round(store: Store, config: CrawlConfig) -> bool:
    """Whether the pictures of the version before are to be asked for again; not twice in one round."""
    manifest = store.manifest("images")
    last = "" if manifest is None else manifest.config.get("revalidate", "")
    return config.revalidate not in ("", last)


def known(before: Stage) -> pa.Table:
    """item_id, part, etag and last_modified of every good row."""
    tables = []
    for part in before.parts("part-"):
        rows = before.read_part(part, ["item_id", "etag", "last_modified"])
        tables.append(rows.append_column("part", pa.array([part] * rows.num_rows, pa.string())))
    return pa.concat_tables(tables)


def carry_over(before: Stage, stage: Stage, items: pa.Table) -> int:
    """Copies the good rows of `items` that `stage` lacks, part by part; returns how many."""
    done = pa.array(sorted(stage.done("item_id")), pa.string())
    missing = items.filter(pc.invert(pc.is_in(items.column("item_id"), value_set=done)))
    carried = 0
    for part in before.parts("part-"):
        ids = before.read_part(part, ["item_id"]).column("item_id")
        places = pc.index_in(ids, value_set=missing.column("item_id"))
        if places.null_count == len(places):
            continue
        rows = before.read_part(part).filter(places.is_valid())
        category = missing.column("category").take(places.drop_null())  # may have been corrected
        for name, values in {"category": category, "duplicate_of": pa.nulls(len(rows), pa.string())}.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, values)
        stage.write(rows)
        carried += rows.num_rows
    return carried


def mark_vanished(before: Stage, stage: Stage, items: pa.Table) -> int:
    """Writes a row without the picture for each whose item is not among `items`; returns how many."""
    columns = ["item_id", "product_id", "category", "url", "status", "fetched_at"]
    vanished = 0
    for part in before.parts():
        rows = before.read_part(part, columns)
        had = pc.is_in(rows.column("status"), value_set=pa.array([OK, VANISHED]))
        gone = pc.invert(pc.is_in(rows.column("item_id"), value_set=items.column("item_id")))
        rows = rows.filter(pc.and_(had, gone))
        if rows.num_rows:
            status = pa.array([VANISHED] * rows.num_rows, pa.string())
            error = pa.array(["its item is no longer in ITEMS"] * rows.num_rows, pa.string())
            rows = rows.set_column(columns.index("status"), "status", status).append_column("error", error)
            stage.write(rows)
            vanished += rows.num_rows
    return vanished
