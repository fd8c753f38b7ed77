"""A source of any kind, or the demo catalogue -> ITEMS; only wires readers, mapping and store."""

import tempfile
import time
from collections.abc import Iterator

from facap.catalog import demo, pages
from facap.catalog.categories import Categories
from facap.catalog.columns import Columns
from facap.catalog.config import CatalogConfig
from facap.catalog.documents import Document, Fetch, content_hash, gather, is_address, parts_of
from facap.catalog.items import Items
from facap.catalog.lines import Line, Lost, Unreadable
from facap.catalog.readers import read_lines
from facap.errors import StageFailed
from facap.progress import Progress, StageReport
from facap.quoting import printable, shown, without_secrets
from facap.schemas import ITEMS, UNMAPPED
from facap.store import Manifest, Store, fingerprint, stage_key

VERSION = 3
UNMAPPED_SHOWN = 100  # names of categories in the dataset's manifest


def run(store: Store, config: CatalogConfig, progress: Progress, fetch: Fetch | None = None) -> StageReport:
    """Reads the source; lines that make no item are counted by reason in the report.

    `fetch`: gets what has an address, within the crawl's limits. Raises ConfigError for a source that cannot
    be had, ContractError for a missing column, StageFailed if no line makes an item or too many of the
    source's files are lost.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="facap-") as folder:
        found: list[Document | Unreadable]
        if config.manifest:
            found = list(gather(config, fetch, folder))
        else:
            found = [Document("demo", f"{demo.build(store, config, progress)}/manifest.csv", "csv")]
        return _make(store, config, progress, fetch, found, started)


def _make(
    store: Store,
    config: CatalogConfig,
    progress: Progress,
    fetch: Fetch | None,
    found: list[Document | Unreadable],
    started: float,
) -> StageReport:
    documents = [document for document in found if isinstance(document, Document)]
    source = printable(config.manifest) or "demo"
    categories = Categories.load(config.categories)
    inputs = {"manifest": content_hash(documents), "categories": fingerprint(categories.fingerprint())}
    if config.read_pages and any(document.kind == "sitemap" for document in documents):
        inputs["pages"] = pages.read_pages(
            store, config, lambda: _page_addresses(documents, config), fetch, progress
        ).fingerprint
    settings = {
        "source": source,
        "columns": config.columns,
        "default_category": config.default_category,
        "read_pages": config.read_pages,
    }
    stage = store.stage("items", ITEMS, stage_key("catalog", VERSION, settings, inputs))
    manifest = stage.finished()
    if manifest is not None:
        return _report(manifest, seconds=0.0, reused=True)
    items = Items(source, Columns(config.columns), categories, config.default_category)
    num_items = 0
    lost: list[Lost] = []
    for table in items.tables(_noted(_lines(store, config, found, items), lost)):
        stage.write(table)  # named after its content: written again by a resumed run, it replaces itself
        num_items += table.num_rows
        progress.say(f"{num_items:,} items of {items.lines:,} lines")
    items.source = source
    items.check_columns()
    if not num_items:
        raise StageFailed(_no_items(items))
    if len(lost) > config.max_failed_documents * len(found):
        raise StageFailed(_too_much_lost(items, lost, len(found), config.max_failed_documents))
    extra = {
        "lines": items.lines,
        "repeated": items.repeated,
        "failures": dict(items.failures),
        "examples": items.examples,
        "documents": len(documents),
        UNMAPPED: items.unmapped.total(),
        "unmapped_names": dict(items.unmapped.most_common(UNMAPPED_SHOWN)),
    }
    wanted = items.lines - items.repeated - items.failures.total()
    manifest = stage.commit(config.model_dump(mode="json"), inputs, extra=extra, expected=wanted)
    for reason, example in items.examples.items():
        progress.say(f"{items.failures[reason]:,} {reason}, e.g. {example}")
    if items.unmapped:
        names = ", ".join(f"{shown(name)} ({count:,})" for name, count in items.unmapped.most_common(5))
        progress.say(f"unmapped: {names}; catalog.categories takes names of yours")
    return _report(manifest, seconds=time.monotonic() - started)


def _noted(lines: Iterator[Line], lost: list[Lost]) -> Iterator[Line]:
    """The same lines; the Lost among them are put into `lost`."""
    for line in lines:
        if isinstance(line, Lost):
            lost.append(line)
        yield line


def _lines(
    store: Store, config: CatalogConfig, found: list[Document | Unreadable], items: Items
) -> Iterator[Line]:
    """The lines of all documents; `items.source` says which one they come from."""
    paged = False
    for document in found:
        if isinstance(document, Unreadable):
            yield document
        elif document.kind == "sitemap" and config.read_pages:
            paged = True
            yield from _no_pages(document, config)
        else:
            items.source = document.name
            yield from read_lines(document, config.max_source_bytes)
    if paged:
        items.source = printable(config.manifest)
        yield from pages.lines(store)


def _no_pages(sitemap: Document, config: CatalogConfig) -> Iterator[Line]:
    """What of a sitemap does not get into PAGES."""
    for entry in parts_of(sitemap, config):
        if isinstance(entry, Unreadable):
            yield entry
        elif not is_address(entry.get("page", "")):
            yield Unreadable("bad_url", f"{sitemap.name}: {entry}")


def _page_addresses(documents: list[Document], config: CatalogConfig) -> Iterator[str]:
    for document in documents:
        if document.kind == "sitemap":
            for entry in parts_of(document, config):
                if not isinstance(entry, Unreadable) and is_address(entry.get("page", "")):
                    yield entry["page"]


def _no_items(items: Items) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in items.failures.most_common(3))
    example = next(iter(items.examples.values()), "the source holds no lines")
    return (
        f"manifest '{without_secrets(items.source)}' gives no item: none of its {items.lines} lines can be "
        f"used ({reasons or 'empty'}; {example}); correct it or set catalog.manifest to another source"
    )


def _too_much_lost(items: Items, lost: list[Lost], total: int, most: float) -> str:
    return (
        f"{len(lost)} of {total} files of '{without_secrets(items.source)}' cannot be read, or not to their "
        f"end ({lost[0].reason}: {lost[0].seen}), more than the {most:.0%} that "
        "catalog.max_failed_documents allows; nothing was committed, since their products would count as "
        "vanished. Correct the source or raise the limit, then run again"
    )


def _report(manifest: Manifest, seconds: float, reused: bool = False) -> StageReport:
    notes = [
        f"{manifest.extra[name]:,} {name}" for name in ("repeated", UNMAPPED) if manifest.extra.get(name)
    ]
    return StageReport(
        "catalog",
        rows_in=manifest.extra["lines"],
        rows_out=manifest.rows,
        failures=manifest.extra["failures"],
        seconds=seconds,
        reused=reused,
        note=", ".join(notes),
    )
