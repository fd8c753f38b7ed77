"""ITEMS -> IMAGES: what is missing is fetched, duplicates are marked, then the version is committed."""

import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from facap.crawl.config import CrawlConfig
from facap.crawl.dedupe import mark_duplicates
from facap.dataflow import write_rows
from facap.errors import StageFailed
from facap.progress import Progress, StageReport, check_failures
from facap.schemas import IMAGES, OK
from facap.store import Manifest, Stage, Store, stage_key

VERSION = 1
BATCHES_AT_A_TIME = 3  # in one worker: stragglers of one batch overlap with the next ones
MAX_BLOCKS = 2000  # of one crawl; Ray's bookkeeping grows with their number


def run(store: Store, config: CrawlConfig, progress: Progress) -> StageReport:
    """Crawls every item that has no good row yet; raises StageFailed above `max_failure_rate`."""
    started = time.monotonic()
    inputs = {"items": store.fingerprint("items")}
    stage = store.stage("images", IMAGES, stage_key("crawl", VERSION, config.for_key(), inputs))
    manifest = stage.finished()
    if manifest is not None:
        return _report(manifest, seconds=0.0, reused=True)
    items = store.read("items", ["item_id", "product_id", "category", "url"])
    if not config.contact and not config.allow_networks:
        progress.say("crawl.contact is empty: set a page or address where site owners can reach you")
    todo = _missing(items, stage)
    if todo.num_rows:
        write_rows(
            _fetched(todo, config),
            stage,
            total=items.num_rows,
            progress=progress,
            rows_per_part=config.batch_size,
        )
    stage.drop_repeated()
    counts = Counter(stage.read(["status"]).column(0).to_pylist())
    assert counts.total() == items.num_rows, f"{items.num_rows} items in, {counts.total()} rows out"
    if not counts[OK]:
        raise StageFailed(_nothing_crawled(stage, counts))
    check_failures("crawl", counts, config.max_failure_rate)
    num_duplicates = mark_duplicates(stage)
    manifest = stage.commit(config.model_dump(mode="json"), inputs, extra={"duplicates": num_duplicates})
    return _report(manifest, seconds=time.monotonic() - started)


def _missing(items: pa.Table, stage: Stage) -> pa.Table:
    """The items without a good row, in the order of their ids: hashes, so hosts come well mixed."""
    done = pa.array(sorted(stage.done("item_id")), pa.string())
    todo = items.filter(pc.invert(pc.is_in(items.column("item_id"), value_set=done)))
    return todo.sort_by("item_id")


def _fetched(todo: pa.Table, config: CrawlConfig):  # type: ignore[no-untyped-def]  # -> ray.data.Dataset
    import ray.data

    from facap.crawl.worker import CrawlWorker

    size = max(config.batch_size, -(-todo.num_rows // MAX_BLOCKS))
    blocks = [todo.slice(start, size).combine_chunks() for start in range(0, todo.num_rows, size)]
    return ray.data.from_arrow(blocks).map_batches(
        CrawlWorker,
        fn_constructor_args=(config,),
        batch_format="pyarrow",
        batch_size=config.batch_size,
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=config.num_workers,
            max_tasks_in_flight_per_actor=2 * BATCHES_AT_A_TIME,
            max_concurrent_calls_per_actor=BATCHES_AT_A_TIME,
            enable_true_multi_threading=True,
        ),
        num_cpus=1,
    )


def _nothing_crawled(stage: Stage, counts: Counter) -> str:
    reasons = ", ".join(f"{number} {status}" for status, number in counts.most_common(3))
    row = stage.read(["url", "error"]).slice(0, 1).to_pylist()[0]
    return (
        f"crawl: none of the {counts.total()} items could be crawled ({reasons}; e.g. {row['url']}: "
        f"{row['error']}); check crawl.allow_networks and that the addresses can be reached from here, "
        "then run again"
    )


def _report(manifest: Manifest, seconds: float, reused: bool = False) -> StageReport:
    failures = {status: number for status, number in manifest.counts.items() if status != OK}
    num_duplicates = int(manifest.extra.get("duplicates", 0))
    return StageReport(
        "crawl",
        rows_in=manifest.rows,
        rows_out=manifest.counts.get(OK, 0) - num_duplicates,
        failures=failures,
        seconds=seconds,
        reused=reused,
        note=f"{num_duplicates} duplicate",
    )
