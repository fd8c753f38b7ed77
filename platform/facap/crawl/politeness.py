"""What we owe one host: few requests at a time, a pace, pauses when it asks, and peace when it is down.

    async with host.turn(room):         # waits; raises FetchError "host_down" once there is no hope
        ...one request; a FetchError with `host_fault` counts against the host, any answer for it

A host is a name or address, whatever the port and scheme. Its pace is kept by spacing: one request
is sent at least 1/rate after the last, so that no second sees more than the rate allows.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic

from facap.crawl.config import CrawlConfig
from facap.crawl.outcome import FetchError

SPACING = 1.05  # requests are this much further apart than the rate asks, for the network's jitter
TRIALS = 3  # requests that try a host in vain, each after a pause, before it counts as down


class Host:
    """The limits, the pace and the breaker of one host."""

    def __init__(self, config: CrawlConfig) -> None:
        self.crawl_delay_s = 0.0  # what its robots.txt asks for
        self._spacing_s = SPACING / config.max_rate_per_host if config.max_rate_per_host else 0.0
        self._slots = asyncio.Semaphore(config.max_connections_per_host)
        self._line = asyncio.Lock()  # first come, first served
        self._last = self._not_before = float("-inf")
        self._limit, self._pause_s = config.breaker_failures, config.breaker_pause_s
        self._failures = self._trials = self._turns = 0
        self._down = ""

    @property
    def idle(self) -> bool:
        """Nobody waits for it, and a request now would be polite: it may be forgotten."""
        return not self._turns and self._ready_at() <= monotonic() and not self._failures

    def pause(self, seconds: float) -> None:
        """No request before `seconds` from now."""
        self._not_before = max(self._not_before, monotonic() + seconds)

    def sent(self) -> None:
        """A request goes out just now: later than its turn began if it had to connect first."""
        self._last = monotonic()

    def give_up(self, reason: str) -> None:
        """Every turn from now on is refused with `reason`."""
        self._down = self._down or reason

    @contextlib.asynccontextmanager
    async def turn(self, room: asyncio.Semaphore) -> AsyncIterator[None]:
        """Holds one of the host's places from the moment that a request is polite.

        One place of `room`, for all hosts together, is taken too, and last, so that a host which has to
        wait keeps none from the others. Giving it back is the caller's part.
        """
        self._turns += 1
        try:
            async with self._slots:
                trial = await self._wait(room)
                try:
                    yield
                except FetchError as error:
                    if error.host_fault:
                        self._failed(error, trial)
                    elif error.answered:
                        self._answered()
                    raise
                else:
                    self._answered()
                finally:
                    if trial:
                        self._line.release()
        finally:
            self._turns -= 1

    async def _wait(self, room: asyncio.Semaphore) -> bool:
        """Waits for a polite moment and for room; a trial keeps the line to itself until it is answered."""
        await self._line.acquire()
        trial = False
        try:
            while True:
                if self._down:
                    raise FetchError("host_down", self._down)
                if (wait := self._ready_at() - monotonic()) > 0:
                    await asyncio.sleep(wait)
                    continue
                await room.acquire()
                if self._ready_at() <= monotonic():  # nothing changed while there was no room
                    break
                room.release()
            self._last = monotonic()
            trial = self._failures >= self._limit
            return trial
        finally:
            if not trial:
                self._line.release()

    def _ready_at(self) -> float:
        return max(self._last + max(self._spacing_s, self.crawl_delay_s), self._not_before)

    def _answered(self) -> None:
        self._failures = self._trials = 0

    def _failed(self, error: FetchError, trial: bool) -> None:
        self._failures += 1
        self._trials += trial
        if self._trials >= TRIALS:
            self.give_up(f"{self._failures} requests in a row failed, the last with {error.status}: {error}")
        elif trial or self._failures == self._limit:
            self.pause(self._pause_s)
