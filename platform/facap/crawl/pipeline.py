"""ITEMS -> IMAGES: what is missing is fetched, duplicates are marked, then the version is committed."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from facap.crawl.config import CrawlConfig
from facap.crawl.dedupe import mark_duplicates
from facap.crawl.increments import (
    VANISHED,
    carry_over,
    crawl_key,
    is_new_round,
    known,
    mark_vanished,
    version_before,
)
from facap.crawl.lanes import LANES_AT_A_TIME, VISITS, host_of, lanes
from facap.crawl.safety import is_own
from facap.crawl.stop import StopSign
from facap.errors import ConfigError, StageFailed
from facap.failures import FailureLimit, check_failures
from facap.progress import PRINT_EVERY_S, Progress, StageReport
from facap.quoting import without_secrets
from facap.schemas import IMAGES, OK, UNMAPPED
from facap.store import Manifest, Stage, Store

START_S = 600  # in which the cluster has to find room for all workers


def run(store: Store, config: CrawlConfig, progress: Progress) -> StageReport:
    """Crawls every item that has no good row yet; raises StageFailed above `max_failure_rate`."""
    started = time.monotonic()
    inputs = {"items": store.fingerprint("items")}
    stage = store.stage("images", IMAGES, crawl_key(config.for_key(), inputs))
    manifest = stage.finished()
    if manifest is not None:
        return _report(manifest, seconds=0.0, reused=True)
    items = wanted(store.read("items", ["item_id", "product_id", "category", "url"]), config)
    require_contact(config, items)
    before = version_before(store, config)
    asked_again = before if is_new_round(store, config) else None
    if before is not None:
        if asked_again is None:
            carry_over(before, stage, items)
        mark_vanished(before, stage, items)
    todo = _missing(items, stage, asked_again)
    limit = FailureLimit("crawl", stage, config.max_failure_rate, items.num_rows, (VANISHED,))
    stop = StopSign(stage.folder)
    with _watched(limit, stop, progress):
        while todo.num_rows:  # then what was redirected to another worker's host, at most max_redirects times
            todo = _crawled(todo, config, stage, asked_again, stop)
    limit(stage.statuses())
    _, counts = stage.drop_repeated()
    num_vanished = counts.pop(VANISHED, 0)
    if not counts[OK]:
        raise StageFailed(_nothing_crawled(stage, counts))
    check_failures("crawl", counts, config.max_failure_rate, stage=stage)
    extra = {"duplicates": mark_duplicates(stage, config.near_duplicates), VANISHED: num_vanished}
    rows = items.num_rows + num_vanished
    manifest = stage.commit(config.model_dump(mode="json"), inputs, extra=extra, expected=rows)
    return _report(manifest, seconds=time.monotonic() - started)


def wanted(items: pa.Table, config: CrawlConfig) -> pa.Table:
    """The items to crawl: those of our categories, and with `unmapped` the others; StageFailed if none."""
    if config.unmapped:
        return items
    mapped = items.filter(pc.not_equal(items.column("category"), UNMAPPED))
    if not mapped.num_rows:
        raise StageFailed(
            f"crawl: the categories of all {items.num_rows} items map to none of ours; name them in "
            "catalog.categories, or set crawl.unmapped to crawl them all the same"
        )
    return mapped


def require_contact(config: CrawlConfig, items: pa.Table) -> None:
    """Raises ConfigError if an item's host may be public and nobody there could reach us."""
    if config.contact:
        return
    for host in dict.fromkeys(map(host_of, items.column("url").to_pylist())):
        if host and not is_own(host, config.allow_networks):
            raise ConfigError(
                f"crawl.contact is empty, but {host} may be anyone's: set it to a mail address or page where "
                "site owners reach you (only addresses within crawl.allow_networks are crawled without)"
            )


def _missing(items: pa.Table, stage: Stage, before: Stage | None) -> pa.Table:
    """The items without a good row, as VISITS; with what `before` knows of them."""
    done = pa.array(sorted(stage.done("item_id")), pa.string())
    todo = items.filter(pc.invert(pc.is_in(items.column("item_id"), value_set=done)))
    columns = {name: todo.column(name) for name in todo.column_names} | {
        "at": todo.column("url"),
        "hops": pa.nulls(todo.num_rows, pa.int8()).fill_null(0),
    }
    if before is not None:
        facts = known(before)
        places = pc.index_in(todo.column("item_id"), value_set=facts.column("item_id"))
        columns |= {name: facts.column(name).take(places) for name in ("part", "etag", "last_modified")}
    nothing = pa.nulls(todo.num_rows, pa.string())
    return pa.table({field.name: columns.get(field.name, nothing) for field in VISITS}, schema=VISITS)


def _crawled(
    todo: pa.Table, config: CrawlConfig, stage: Stage, before: Stage | None, stop: StopSign
) -> pa.Table:
    """Crawls `todo` into `stage`; returns the visits that led to hosts of other workers."""
    import ray.data

    from facap.crawl.worker import CrawlWorker

    found = lanes(todo, config.num_workers)
    num_workers = min(config.num_workers, len(found), int(ray.cluster_resources().get("CPU", 1)))
    visits = ray.data.from_blocks(found)  # from_arrow() starts two tasks to look at what is at hand here
    visits.context.target_max_block_size = 2**20  # what Ray thinks a lane returns, and reserves room for
    visits.context.wait_for_min_actors_s = START_S  # or the first one to be ready takes all the large lanes
    left = visits.map_batches(
        CrawlWorker,
        fn_constructor_args=(config, stage, before, stop),
        batch_format="pyarrow",
        batch_size=None,  # a lane is one batch
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(
            size=max(1, num_workers),
            max_tasks_in_flight_per_actor=LANES_AT_A_TIME,  # none waits for one worker while another is free
            max_concurrent_calls_per_actor=LANES_AT_A_TIME,
        ),
        num_cpus=1,
    )
    batches = left.iter_batches(batch_size=None, batch_format="pyarrow")
    tables: list[pa.Table] = list(batches)  # type: ignore[arg-type]
    return pa.concat_tables([VISITS.empty_table(), *(table.cast(VISITS) for table in tables)])


@contextlib.contextmanager
def _watched(limit: FailureLimit, stop: StopSign, progress: Progress) -> Iterator[None]:
    """Tells `progress` of the rows that arrive in the store while the block runs; puts the sign to stop once
    too many of them have failed."""
    over = threading.Event()
    seen: set[str] = set()
    counts: Counter = Counter()

    def look() -> None:
        for part in set(limit.stage.parts()) - seen:
            counts.update(limit.stage.read_part(part, ["status"]).column(0).to_pylist())
            seen.add(part)
        progress.update(min(counts.total() - counts[VANISHED], limit.total), limit.total)

    def watch() -> None:
        stopped = False
        while not over.wait(PRINT_EVERY_S):
            try:
                look()
                if not stopped and _is_lost(limit, counts):
                    stop.put()
                    stopped = True
                    progress.say("too many rows have failed: it stops, and what is under way is written")
            except OSError:  # of the store, for the moment; the next look makes up for it
                continue

    look()
    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(
            OSError
        ):  # it would hide the block's own error, and a sign stops one run only
            stop.remove()
    look()


def _is_lost(limit: FailureLimit, counts: Counter) -> bool:
    try:
        limit(counts)
    except StageFailed:
        return True
    return False


def _nothing_crawled(stage: Stage, counts: Counter) -> str:
    reasons = ", ".join(f"{number} {status}" for status, number in counts.most_common(3))
    row = stage.read(["url", "error"]).slice(0, 1).to_pylist()[0]
    example = without_secrets(f"{row['url']}: {row['error']}")
    return (
        f"crawl: none of the {counts.total()} items could be crawled ({reasons}; e.g. {example}); "
        "check crawl.allow_networks and that the addresses can be reached from here, then run again"
    )


def _report(manifest: Manifest, seconds: float, reused: bool = False) -> StageReport:
    num_duplicates, num_vanished = (int(manifest.extra.get(name, 0)) for name in ("duplicates", VANISHED))
    failures = {s: number for s, number in manifest.counts.items() if s not in (OK, VANISHED)}
    return StageReport(
        "crawl",
        rows_in=manifest.rows - num_vanished,
        rows_out=manifest.counts.get(OK, 0) - num_duplicates,
        failures=failures,
        seconds=seconds,
        reused=reused,
        note=f"{num_duplicates} duplicate" + (f", {num_vanished} vanished" if num_vanished else ""),
    )
