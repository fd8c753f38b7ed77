"""Addresses of product pages -> PAGES: each page fetched and read once, then lines for ITEMS.

    >>> read_pages(store, config, addresses, fetch, progress)           # doctest: +SKIP
    >>> next(lines(store))                                              # doctest: +SKIP
    {'product_id': '7', 'url': 'https://a.example/7.jpg', 'title': 'Wrap dress', 'category': 'Dresses'}

A run that was stopped goes on with the pages that are missing. When pages join or leave the sitemap, those
that were read before are kept, unless that was before `pages_since`.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from facap.catalog.config import CatalogConfig
from facap.catalog.documents import PAGE, Fetch, Fetched
from facap.catalog.lines import Line, Unreadable
from facap.catalog.product_pages import MAX_PAGE_BYTES, page_lines
from facap.catalog.seen import Seen
from facap.errors import ConfigError
from facap.failures import check_failures
from facap.progress import Progress
from facap.quoting import without_secrets
from facap.schemas import OK, PAGES, from_rows
from facap.store import Manifest, Stage, Store, stage_key

VERSION = 2  # pages that failed are read anew; good ones are kept, see _keep_known
PAGES_PER_PART = 500
NOT_FAILED = ("no_product", "no_image")  # a sitemap lists other pages too


def read_pages(
    store: Store,
    config: CatalogConfig,
    addresses: Callable[[], Iterator[str]],
    fetch: Fetch | None,
    progress: Progress,
) -> Manifest:
    """Reads what is missing of PAGES. `addresses` is called twice and gives the same each time.

    Raises StageFailed if more than `max_failed_pages` of them cannot be had.
    """
    wanted = Seen()
    total, listed = 0, hashlib.sha256()
    for address in addresses():
        if wanted.add(address):
            total += 1
            listed.update(f"{address}\n".encode())
    inputs = {"addresses": listed.hexdigest()}
    stage = store.stage(
        "pages", PAGES, stage_key("pages", VERSION, {"since": str(config.pages_since or "")}, inputs)
    )
    manifest = stage.finished()
    if manifest is not None:
        return manifest
    if fetch is None:
        raise ConfigError("catalog.read_pages has to fetch pages, which `python -m jobs.build_catalog` does")
    _keep_known(store, stage, wanted, config.pages_since)
    done = stage.done("page")
    once = Seen()
    todo = (address for address in addresses() if address not in done and once.add(address))
    answers = fetch(todo, MAX_PAGE_BYTES, PAGE)
    statuses = stage.statuses()
    while batch := list(itertools.islice(answers, PAGES_PER_PART)):
        statuses += stage.write(from_rows([_row(answer) for answer in batch], PAGES))
        progress.update(statuses.total(), total, "pages read")
        _check(stage, statuses, config, total)
    _check(stage, statuses, config)
    return stage.commit(config.model_dump(mode="json"), inputs, expected=total)


def _check(stage: Stage, statuses: Counter, config: CatalogConfig, total: int | None = None) -> None:
    judged = Counter({OK: sum(statuses[status] for status in NOT_FAILED)}) + statuses
    counts = {status: rows for status, rows in judged.items() if status not in NOT_FAILED}
    check_failures("pages", counts, config.max_failed_pages, total, stage, "catalog.max_failed_pages")


def lines(store: Store) -> Iterator[Line]:
    """What the finished PAGES say, in the order of their parts; a page that failed is Unreadable."""
    manifest = store.require("pages")
    stage = store.stage("pages", PAGES, manifest.key)
    for part in stage.parts():
        for row in stage.read_part(part, ["page", "status", "error", "lines"]).to_pylist():
            if row["status"] != OK or row["error"]:
                reason = row["status"] if row["status"] != OK else "partly_read"
                yield Unreadable(f"page_{reason}", row["error"] or row["page"])
            yield from json.loads(row["lines"] or "[]")


def _row(answer: Fetched) -> dict[str, Any]:
    row: dict[str, Any] = {"page": answer.address, "read_at": datetime.now(UTC)}
    if answer.body is None:
        error = without_secrets(f"{answer.address}: {answer.error}")[:500]
        return {**row, "status": answer.reason, "error": error}
    found = page_lines(answer.body, answer.address)
    good = [line for line in found if not isinstance(line, Unreadable)]
    bad = [line for line in found if isinstance(line, Unreadable)]
    status = OK if good else bad[0].reason
    # A half surrogate pair has no UTF-8; JSON's own escapes keep it, and ITEMS counts it as bad_text.
    seen = bad[0].seen[:500].encode(errors="replace").decode() if bad else None
    return {**row, "status": status, "error": seen, "lines": json.dumps(good) if good else None}


def _keep_known(store: Store, stage: Stage, wanted: Seen, since: date | None) -> None:
    """Takes over what the last finished version has of the wanted pages."""
    known = store.manifest("pages")
    if known is None or known.schema_version != int(PAGES.metadata[b"facap.version"]):
        return
    first = datetime.combine(since or date(1970, 1, 1), time(), UTC)
    earliest = pa.scalar(first, PAGES.field("read_at").type)
    last = store.stage("pages", PAGES, known.key)
    for part in last.parts("part-"):
        table = last.read_part(part)
        table = table.filter(pc.greater_equal(table.column("read_at"), earliest))
        table = table.filter(
            pa.array([wanted.has(page) for page in table.column("page").to_pylist()], pa.bool_())
        )
        if table.num_rows:
            stage.write(table)
