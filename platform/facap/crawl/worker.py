"""The asynchronous actor of the crawl: lanes of VISITS in, rows of IMAGES into the store, one row an item.

Ray Data runs several lanes at a time on the actor's one event loop. Fetching is done there; a few threads
decode, since Pillow lets go of the interpreter lock. Pictures go from here straight into parts, not through
Ray, and what a lane returns is only what it has to leave to others: the visits that led to another host.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from facap.crawl.config import CrawlConfig
from facap.crawl.decode import DecodeError, limits_of
from facap.crawl.decoders import Decoders
from facap.crawl.fetch import Fetcher
from facap.crawl.lanes import VISITS, hosts_of
from facap.crawl.outcome import Elsewhere, Fetched, FetchError
from facap.crawl.sink import Sink
from facap.crawl.stop import Lookout, StopSign
from facap.quoting import without_secrets
from facap.schemas import OK
from facap.store import Stage

HOSTS_AT_A_TIME = 32  # in one lane
ROWS_AT_A_TIME = 1024  # of a host, as Python objects
GC_AFTER = (20_000, 50, 50)  # new objects, collections; at Python's 700 it takes 3 % of a worker
PARTS_KEPT = 16  # of the version before: pictures that did not change lie near each other

T = TypeVar("T")


class CrawlWorker:
    """Call it with a lane; the items of the table that it returns are not done, all others are in `stage`.

    `before`: the version whose pictures are asked for again, if they are. `stop`: once it is put, what is
    not begun stays undone.
    """

    def __init__(
        self, config: CrawlConfig, stage: Stage, before: Stage | None = None, stop: StopSign | None = None
    ) -> None:
        self.config, self.stage, self.lookout = config, stage, Lookout(stop)
        self.decoders = Decoders(limits_of(config), config.decode_threads)
        self.known_part = lru_cache(PARTS_KEPT)(before.read_part) if before is not None else None
        self.done = pa.array(sorted(stage.done("item_id")), pa.string())  # if a worker before us died
        self.fetcher: Fetcher | None = None
        gc.freeze()  # what was imported stays; there is no need to look at it again and again
        gc.set_threshold(*GC_AFTER)

    async def __call__(self, lane: pa.Table) -> pa.Table:
        if self.fetcher is None:  # not in __init__, which has no event loop
            self.fetcher = Fetcher(self.config, stay=self.config.num_workers > 1)
            self.sink = Sink(self.stage, self.config.batch_size)
        left: list[dict[str, Any]] = []
        todo = lane.filter(pc.invert(pc.is_in(lane.column("item_id"), value_set=self.done)))

        async def crawl_host(rows: pa.Table) -> None:
            at_a_time = 2 * self.config.max_connections_per_host  # some wait between tries
            await _each(_dicts(rows), min(at_a_time, rows.num_rows), crawl)

        async def crawl(visit: dict[str, Any]) -> None:
            if await self.lookout.is_put():
                return
            try:
                await self.sink.add(await self._row(visit))
            except Elsewhere as led:
                left.append({**visit, "at": led.url, "hops": led.hops})

        await _each(hosts_of(todo), HOSTS_AT_A_TIME, crawl_host)
        await self.sink.flush()  # a lane is done when all its rows are in the store
        return pa.Table.from_pylist(left, schema=VISITS)

    async def close(self) -> None:
        """Ends connections and threads."""
        if self.fetcher is not None:
            await self.fetcher.__aexit__(None, None, None)
        self.decoders.close()

    async def _row(self, visit: dict[str, Any]) -> dict[str, Any]:
        try:
            outcome = await self._picture(visit)
        except Elsewhere:
            raise
        except FetchError as error:
            if visit["part"] is not None and error.passing:
                outcome = await self._known(visit)
            else:
                outcome = {"status": error.status, "error": str(error)[:500]}
        except Exception as error:  # a defect of ours must cost one row, not the whole crawl
            text = without_secrets(f"{type(error).__name__}: {error}")
            outcome = {"status": "unexpected", "error": text[:500]}
        item = {name: visit[name] for name in ("item_id", "product_id", "category", "url")}
        return {"fetched_at": datetime.now(UTC), **outcome, **item}

    async def _picture(self, visit: dict[str, Any]) -> dict[str, Any]:
        assert self.fetcher is not None
        condition = {"If-None-Match": visit["etag"], "If-Modified-Since": visit["last_modified"]}
        condition = {name: value for name, value in condition.items() if value}
        async with self.fetcher.fetch(visit["at"], visit["hops"], condition) as fetched:
            if not isinstance(fetched, Fetched):
                return {**await self._known(visit), "fetched_at": datetime.now(UTC)}
            facts = {"body_bytes": len(fetched.body), "latency_ms": fetched.latency_ms}
            try:
                picture = await self.decoders.decode(fetched.body)
            except DecodeError as error:
                return {**facts, "status": error.status, "error": str(error)[:500]}
            known_by = {"etag": fetched.etag, "last_modified": fetched.last_modified}
            return {**facts, **known_by, "status": OK, **vars(picture)}

    async def _known(self, visit: dict[str, Any]) -> dict[str, Any]:
        """The row of the version before; its `fetched_at` says when the picture was last confirmed."""
        assert self.known_part is not None
        part = await asyncio.to_thread(self.known_part, visit["part"])
        (row,) = part.filter(pc.equal(part.column("item_id"), visit["item_id"])).to_pylist()
        return {**row, "duplicate_of": None}


async def _each(things: Iterator[T], at_a_time: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Works on all `things`, some at a time; takes the next one only when it is begun."""

    async def draw() -> None:
        for thing in things:
            await work(thing)

    await asyncio.gather(*(draw() for _ in range(at_a_time)))


def _dicts(rows: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in rows.to_batches(max_chunksize=ROWS_AT_A_TIME):
        yield from batch.to_pylist()
