"""robots.txt as RFC 9309 has it: read once, kept for a day, asked before every request.

    robots = Robots(read, max_age_s=86_400, pause_s=30)
    rules = await robots.rules(URL("https://shop.example"))     # Protego, or raises FetchError
    rules.can_fetch("https://shop.example/a.jpg", AGENT)

No robots.txt (4xx) allows everything; one that cannot be had (5xx, 429, no connection) allows nothing,
and is asked for TRIALS times with a pause between.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from time import monotonic

from protego import Protego
from yarl import URL

from facap.crawl.outcome import FetchError

AGENT = "facap"  # the product token that rules are matched with
MAX_BYTES = 500 * 1024  # RFC 9309, 2.5: what is longer is read so far
_DOTS = re.compile(r"/(?:\.|%2e)", re.IGNORECASE)
TRIALS = 3  # before all who wait for the rules are refused


def parse(body: bytes) -> Protego:
    """The rules of a robots.txt; what is no rule is skipped, so any bytes will do."""
    return Protego.parse(body[:MAX_BYTES].decode("utf-8-sig", "replace"))


def allowed(rules: Protego, url: URL) -> bool:
    """Whether `rules` let us ask for `url`, both as it is sent and as a server may read it.

    Escapes are compared decoded (Protego). An address is sent with its dots, which a server resolves:
    /public/../private/ must not get past a rule for /private/.
    """
    sent = str(url)
    meant = str(URL(sent)) if _DOTS.search(sent) else sent
    return bool(rules.can_fetch(sent, AGENT)) and (meant == sent or bool(rules.can_fetch(meant, AGENT)))


def without_rules(error: FetchError) -> Protego:
    """The rules of a host whose robots.txt could not be had because of `error`; raises for "none of it"."""
    code = error.status.removeprefix("http_")
    if error.status in ("http_429", "http_408") or code.startswith("5"):
        raise FetchError("robots_unreachable", f"robots.txt: {error}", answered=True) from error
    if code.isdigit() or error.status == "too_many_redirects":
        return Protego.parse("")
    raise FetchError(error.status, f"robots.txt: {error}", host_fault=error.host_fault) from error


class Robots:
    """The rules of the origins (scheme, host, port) of one host."""

    def __init__(self, read: Callable[[URL], Awaitable[Protego]], max_age_s: float, pause_s: float) -> None:
        self._read, self._max_age_s, self._pause_s = read, max_age_s, pause_s
        self._known: dict[URL, tuple[asyncio.Future[Protego], float]] = {}

    async def rules(self, origin: URL) -> Protego:
        """The rules of `origin`; all who ask meanwhile wait for one reading."""
        future, expires = self._known.get(origin, (None, 0.0))
        if future is None or monotonic() >= expires:
            future = asyncio.ensure_future(self._renew(origin, future))
            self._known[origin] = (future, float("inf"))
        return await asyncio.shield(future)

    async def _renew(self, origin: URL, before: "asyncio.Future[Protego] | None") -> Protego:
        lasts_s = self._pause_s
        try:
            rules = await self._try(origin / "robots.txt")
            lasts_s = self._max_age_s
            return rules
        except FetchError:
            if before is not None and before.exception() is None:
                return before.result()  # RFC 9309, 2.4: the old rules serve while there are no new ones
            raise
        finally:
            self._known[origin] = (self._known[origin][0], monotonic() + lasts_s)

    async def _try(self, url: URL) -> Protego:
        for _ in range(TRIALS - 1):
            try:
                return await self._read(url)
            except FetchError as error:
                if not error.passing or error.status == "host_down":
                    raise
                await asyncio.sleep(self._pause_s)
        return await self._read(url)
