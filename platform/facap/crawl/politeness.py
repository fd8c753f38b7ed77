"""What we owe each host: its robots.txt, its pace, and few requests at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from aiolimiter import AsyncLimiter
from protego import Protego
from yarl import URL

ROBOTS_MAX_BYTES = 500 * 1024  # RFC 9309, 2.5
ROBOTS_RETRY_S = 60.0  # a host whose robots.txt could not be had is left alone this long


class Host:
    """One origin (scheme, host, port): its limits, and its rules once they were read."""

    def __init__(self, rate: float, connections: int) -> None:
        self._slots = asyncio.Semaphore(connections)
        self._limiter = _limiter(rate)
        self._rate = rate
        self._robots: asyncio.Future[Protego | None] | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until one more request to this host is polite, and holds its place."""
        async with self._slots:
            if self._limiter is not None:
                await self._limiter.acquire()
            yield

    async def may_fetch(self, url: URL, agent: str, read: Callable[[URL], Awaitable[Protego | None]]) -> bool:
        """Whether robots.txt lets `agent` fetch `url`; `read` gets the rules (None: no access at all).

        What `read` raises is raised here too, to everyone who waits, for ROBOTS_RETRY_S.
        """
        if self._robots is None:
            self._robots = asyncio.ensure_future(read(url.origin() / "robots.txt"))
            self._robots.add_done_callback(lambda future: self._learned(future, agent))
        rules = await asyncio.shield(self._robots)
        return rules is not None and rules.can_fetch(str(url), agent)

    def _learned(self, future: "asyncio.Future[Protego | None]", agent: str) -> None:
        if future.cancelled() or future.exception() is not None:
            asyncio.get_running_loop().call_later(ROBOTS_RETRY_S, self._forget)
            return
        rules = future.result()
        delay = rules.crawl_delay(agent) if rules is not None else None
        if delay and (self._rate == 0 or 1 / delay < self._rate):
            self._limiter = _limiter(1 / delay)

    def _forget(self) -> None:
        self._robots = None


def _limiter(rate: float) -> AsyncLimiter | None:
    """Evenly `rate` requests a second, in bursts of at most a tenth of a second's; None: no limit."""
    if rate == 0:
        return None
    burst = max(1.0, rate / 10)
    return AsyncLimiter(burst, burst / rate)
