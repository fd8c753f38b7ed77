"""Rows as they come -> parts of a stage, as soon as there are enough of them or the oldest has waited enough.

sink = Sink(stage, rows_per_part=128)
await sink.add(row)         # waits only while a part is being written and the next one is full as well
await sink.flush()          # all that was added is in the store
"""

import asyncio
from typing import Any

from facap.crawl.dedupe import Met
from facap.schemas import OK, from_rows
from facap.store import Stage

FLUSH_S = 20.0  # how long a row of a slow host may stay in memory only
MAX_BYTES = 64 * 2**20  # of pictures in one part


class Sink:
    """Collects rows of one worker. Belongs to one event loop."""

    def __init__(self, stage: Stage, rows_per_part: int) -> None:
        self.stage, self.rows_per_part = stage, rows_per_part
        self._rows: list[dict[str, Any]] = []
        self._met = Met()
        self._bytes = 0
        self._writing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, row: dict[str, Any]) -> None:
        """Takes one row."""
        if row["status"] == OK:
            self._met.mark(row)
        self._rows.append(row)
        self._bytes += len(row.get("bytes") or b"")
        if len(self._rows) >= self.rows_per_part or self._bytes >= MAX_BYTES:
            await self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush_late)

    async def flush(self) -> None:
        """Writes what there is; raises what the store raises, and keeps the rows then."""
        async with self._writing:
            rows, self._rows, self._bytes = self._rows, [], 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                if rows:
                    await asyncio.to_thread(self._write, rows)
            except BaseException:
                self._rows = rows + self._rows
                raise

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.stage.write(from_rows(rows, self.stage.schema))

    def _flush_late(self) -> None:
        self._timer = None
        task = asyncio.ensure_future(self.flush())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # the next flush raises it
