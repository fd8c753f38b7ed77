"""The actor of the crawl: batches of ITEMS in, batches of IMAGES out, one row for one row.

One event loop of its own fetches; a few threads decode, since Pillow lets go of the interpreter
lock. Several batches are in work at a time, so one slow server does not hold up the others.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import stamina

from facap.crawl.config import CrawlConfig
from facap.crawl.decode import DecodeError, Limits, normalise
from facap.crawl.fetch import Fetcher, FetchError
from facap.schemas import IMAGES, OK, from_rows


class CrawlWorker:
    """Call it with a table of ITEMS columns; it answers with as many IMAGES rows."""

    def __init__(self, config: CrawlConfig) -> None:
        stamina.instrumentation.set_on_retry_hooks([])  # the rows say what failed; no log line a retry
        self.config = config
        self.limits = Limits(config.max_pixels, config.longest_side, config.jpeg_quality)
        self.decoders = ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode")
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="fetch", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result()

    async def _open(self) -> None:
        self.slots = asyncio.Semaphore(max(1, self.config.max_connections // self.config.num_workers))
        self.fetcher = await Fetcher(self.config, share=self.config.num_workers).__aenter__()

    def __call__(self, batch: pa.Table) -> pa.Table:
        items = batch.select(["item_id", "product_id", "category", "url"]).to_pylist()
        rows = asyncio.run_coroutine_threadsafe(self._crawl_all(items), self.loop).result()
        return from_rows(rows, IMAGES)

    def close(self) -> None:
        """Ends the connections, the loop and the threads."""
        asyncio.run_coroutine_threadsafe(self.fetcher.__aexit__(None, None, None), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.decoders.shutdown()

    async def _crawl_all(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self._crawl(item) for item in items))

    async def _crawl(self, item: dict[str, Any]) -> dict[str, Any]:
        async with self.slots:  # held until decoded, so that bodies waiting for a thread are bounded too
            try:
                outcome = await self._picture(item["url"])
            except (FetchError, DecodeError) as error:
                outcome = {"status": error.status, "error": str(error)[:500]}
            except Exception as error:  # a defect of ours must cost one row, not the whole crawl
                outcome = {"status": "unexpected", "error": f"{type(error).__name__}: {error}"[:500]}
        return {**item, **outcome, "fetched_at": datetime.now(UTC)}

    async def _picture(self, url: str) -> dict[str, Any]:
        fetched = await self.fetcher.fetch(url)
        picture = await self.loop.run_in_executor(self.decoders, normalise, fetched.body, self.limits)
        return {"status": OK, "etag": fetched.etag, **vars(picture)}
