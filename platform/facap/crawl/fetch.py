"""One URL -> its bytes, or one reason why not. Retries, redirects and what robots.txt allows live here.

    async with Fetcher(config) as fetcher, fetcher.fetch("https://example.com/a.jpg") as fetched:
        fetched.body                    # a FetchError is raised instead where there is none

The place that a request holds among `max_connections` is given back when the block ends, not when the
body is there: so the bodies in memory are bounded as well.
"""

import asyncio
import contextlib
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from types import SimpleNamespace, TracebackType

import aiohttp
from aiohttp import ClientTimeout, DummyCookieJar
from aiohttp.abc import AbstractResolver
from protego import Protego
from yarl import URL

import facap
from facap.crawl import robots
from facap.crawl.address import BadUrl, resolve
from facap.crawl.config import CrawlConfig
from facap.crawl.outcome import Elsewhere, Fetched, FetchError, Moved, NotModified
from facap.crawl.politeness import Host
from facap.crawl.response import read_response
from facap.crawl.robots import AGENT, Robots
from facap.crawl.safety import AddressPolicy, BlockedAddress, checked_connector, host_name, parse_url

MAX_HOSTS = 4096  # remembered at a time; idle ones beyond are forgotten


@dataclass
class _Site:
    host: Host
    robots: Robots


def user_agent(contact: str) -> str:
    """Who we are, in the customary form."""
    return f"{AGENT}/{facap.__version__}" + (f" (+{contact})" if contact else "")


class Fetcher:
    """Fetches many URLs at once within the limits of `config`. Make it inside a running event loop.

    `stay`: a redirect to another host is not followed but raised as Elsewhere, for whoever that host
    belongs to. `resolver` looks names up, the system's by default.
    """

    def __init__(
        self, config: CrawlConfig, stay: bool = False, resolver: AbstractResolver | None = None
    ) -> None:
        self.config, self.stay = config, stay
        self._room = asyncio.Semaphore(max(1, config.max_connections // config.num_workers))
        self._sites: OrderedDict[str, _Site] = OrderedDict()
        self._session = aiohttp.ClientSession(
            connector=checked_connector(
                AddressPolicy(config.allow_networks, public=bool(config.contact)), resolver
            ),
            timeout=ClientTimeout(
                total=config.total_timeout_s,
                connect=config.connect_timeout_s,
                sock_read=config.read_timeout_s,
            ),
            headers={
                "User-Agent": user_agent(config.contact),
                "Accept": "image/avif,image/webp,image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",  # a picture is compressed already
            },
            trace_configs=[_tell_host()],
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
        )
        self._session._retry_connection = False  # aiohttp would ask once more by itself, unpaced

    async def __aenter__(self) -> "Fetcher":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @contextlib.asynccontextmanager
    async def fetch(
        self, address: str, hops: int = 0, condition: Mapping[str, str] | None = None
    ) -> AsyncIterator[Fetched | NotModified]:
        """What is at `address`, `hops` redirects after the first; `condition`: If-None-Match and such.

        Raises FetchError, or Elsewhere (see `stay`).
        """
        url = _parsed(address)
        while True:
            site = self._site(url)
            await self._check_robots(site, url)
            with contextlib.ExitStack() as held:
                answer = await self._get(site.host, url, held, self.config.max_bytes, condition or {})
                if not isinstance(answer, Moved):
                    yield answer
                    return
            url, before, hops = _joined(url, answer.location), url, hops + 1
            if hops > self.config.max_redirects:
                raise FetchError("too_many_redirects", f"more than {self.config.max_redirects} redirects")
            if self.stay and host_name(url) != host_name(before):
                raise Elsewhere(str(url), hops)

    def _site(self, url: URL) -> _Site:
        name = host_name(url)
        if name in self._sites:
            self._sites.move_to_end(name)
            return self._sites[name]
        for _ in range(len(self._sites) if len(self._sites) >= MAX_HOSTS else 0):
            oldest, site = self._sites.popitem(last=False)
            if site.host.idle:
                break
            self._sites[oldest] = site
        c = self.config
        site = _Site(Host(c), Robots(self._read_robots, c.robots_max_age_s, c.breaker_pause_s))
        self._sites[name] = site
        return site

    async def _check_robots(self, site: _Site, url: URL) -> None:
        if not self.config.obey_robots:
            return
        rules = await site.robots.rules(url.origin())
        if not robots.allowed(rules, url):
            raise FetchError("robots_disallowed", f"robots.txt of {url.host} disallows {url.path}")
        delay = rules.crawl_delay(AGENT) or 0.0
        if delay > self.config.max_crawl_delay_s:
            raise FetchError("robots_disallowed", f"Crawl-delay {delay:g} s, over max_crawl_delay_s")
        site.host.crawl_delay_s = delay

    async def _read_robots(self, url: URL) -> Protego:
        try:
            for _ in range(max(5, self.config.max_redirects) + 1):  # RFC 9309, 2.3.1.2: at least five
                with contextlib.ExitStack() as held:
                    answer = await self._get(self._site(url).host, url, held, robots.MAX_BYTES, cut=True)
                    if isinstance(answer, Fetched):
                        return robots.parse(answer.body)
                    assert isinstance(answer, Moved), "nothing conditional was asked"
                url = _joined(url, answer.location)
            raise FetchError("too_many_redirects", "of robots.txt")
        except FetchError as error:
            return robots.without_rules(error)

    async def _get(
        self,
        host: Host,
        url: URL,
        held: contextlib.ExitStack,
        max_bytes: int,
        condition: Mapping[str, str] | None = None,
        cut: bool = False,
    ) -> Fetched | NotModified | Moved:
        """One URL without following redirects, tried again where that may help; `held` keeps its place."""
        for attempt in range(1, self.config.attempts + 1):
            backoff = self.config.backoff_s * 2 ** (attempt - 1)
            wait = min(backoff + random.uniform(0, self.config.backoff_s), self.config.max_wait_s)
            try:
                with contextlib.ExitStack() as place:
                    async with host.turn(self._room):
                        place.callback(self._room.release)
                        answer = await self._request(host, url, max_bytes, condition or {}, cut)
                    held.push(place.pop_all())
                    return answer
            except FetchError as error:
                if error.retry_after_s is not None and error.retry_after_s > self.config.max_wait_s:
                    host.give_up(f"asked for {error.retry_after_s:.0f} s of peace, over max_wait_s")
                    raise
                if error.retry_after_s is not None or error.status == "http_429":
                    host.pause(error.retry_after_s or wait)  # it speaks of all our requests, not of this URL
                if not error.retry or attempt == self.config.attempts:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _request(
        self, host: Host, url: URL, max_bytes: int, condition: Mapping[str, str], cut: bool
    ) -> Fetched | NotModified | Moved:
        opt_outs = () if cut else self.config.opt_outs
        started = monotonic()
        try:
            async with self._session.get(
                url, headers=condition, allow_redirects=False, trace_request_ctx=host
            ) as response:
                answer = await read_response(response, max_bytes, opt_outs, cut)
            if isinstance(answer, Fetched):
                answer = replace(answer, latency_ms=round(1000 * (monotonic() - started)))
            return answer
        except aiohttp.InvalidURL as error:
            raise FetchError("bad_url", str(error)) from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise FetchError("tls", str(error), host_fault=True) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, BlockedAddress):
                raise FetchError("blocked_address", str(error.os_error)) from error
            status = "dns" if isinstance(error, aiohttp.ClientConnectorDNSError) else "connection"
            raise FetchError(status, str(error), retry=True, host_fault=True) from error
        except TimeoutError as error:
            text = f"no answer in time: {error or 'total time-out'}"
            raise FetchError("timeout", text, retry=True, host_fault=True) from error
        except (aiohttp.ClientError, OSError) as error:
            text = f"{type(error).__name__}: {error}"
            raise FetchError("connection", text, retry=True, host_fault=True) from error


def _tell_host() -> aiohttp.TraceConfig:
    async def sent(session: aiohttp.ClientSession, context: SimpleNamespace, what: object) -> None:
        context.trace_request_ctx.sent()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(sent)
    return config


def _parsed(address: str) -> URL:
    try:
        return parse_url(address)
    except BadUrl as error:
        raise FetchError("bad_url", str(error)) from error


def _joined(url: URL, location: str) -> URL:
    try:
        return parse_url(resolve(str(url), location))
    except ValueError as error:
        raise FetchError("bad_url", f"redirect from {url}: {error}") from error
