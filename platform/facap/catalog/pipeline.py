"""A manifest, or the demo catalogue's -> ITEMS."""

import hashlib
import time

from facap.catalog import demo
from facap.catalog.config import CatalogConfig
from facap.catalog.items import Items, read_lines
from facap.errors import ConfigError, StageFailed
from facap.progress import Progress, StageReport
from facap.schemas import ITEMS
from facap.store import Manifest, Store, stage_key

VERSION = 1


def run(store: Store, config: CatalogConfig, progress: Progress) -> StageReport:
    """Reads the manifest; lines that make no item are counted by reason in the report.

    Raises ConfigError for an unreadable manifest, ContractError for a missing column, StageFailed
    if no line makes an item.
    """
    started = time.monotonic()
    path, source = config.manifest, config.manifest
    if not path:
        path, source = f"{demo.build(store, config, progress)}/manifest.csv", "demo"
    inputs = {"manifest": _content_hash(path)}
    stage = store.stage("items", ITEMS, stage_key("catalog", VERSION, {"source": source}, inputs))
    manifest = stage.finished()
    if manifest is not None:
        return _report(manifest, seconds=0.0, reused=True)
    items = Items(source)
    num_items = 0
    for table in items.tables(read_lines(path)):
        stage.write(table)  # named after its content: written again by a resumed run, it replaces itself
        num_items += table.num_rows
        progress.say(f"{num_items:,} items of {items.lines:,} lines")
    items.check_columns()
    if not num_items:
        raise StageFailed(_no_items(items))
    extra = {
        "lines": items.lines,
        "repeated": items.repeated,
        "failures": dict(items.failures),
        "examples": items.examples,
    }
    manifest = stage.commit(config.model_dump(mode="json"), inputs, extra=extra)
    return _report(manifest, seconds=time.monotonic() - started)


def _content_hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"manifest '{path}' cannot be read: {error.strerror or error}; set catalog.manifest to a file"
        ) from error


def _no_items(items: Items) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in items.failures.most_common(3))
    example = next(iter(items.examples.values()), "the file holds no lines")
    return (
        f"manifest '{items.source}' gives no item: none of its {items.lines} lines can be used "
        f"({reasons or 'empty'}; {example}); correct it or set catalog.manifest to another file"
    )


def _report(manifest: Manifest, seconds: float, reused: bool = False) -> StageReport:
    repeated = manifest.extra["repeated"]
    return StageReport(
        "catalog",
        rows_in=manifest.extra["lines"],
        rows_out=manifest.rows,
        failures=manifest.extra["failures"],
        seconds=seconds,
        reused=reused,
        note=f"{repeated} repeated" if repeated else "",
    )
