"""A small website on loopback with a path for each way a server can behave; it keeps count of requests."""

import asyncio
import gzip
import zlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from time import monotonic, time
from typing import TypeVar

from aiohttp import web

from benchmarks.polite_hosts import PULSE_S
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.crawl.fetch import Fetcher
from facap.crawl.outcome import Fetched, FetchError

T = TypeVar("T")
BOMB = gzip.compress(b"\0" * 50_000_000)


class Site:
    """Answers by path; `robots` is the text of its robots.txt, or a status code, or several, one a time."""

    def __init__(self, robots: str | int | list[str | int] = "") -> None:
        self.robots = robots if isinstance(robots, list) else [robots]
        self.asked: Counter[str] = Counter()
        self.agents: set[str] = set()
        # Since when a request may have been there, and when it was seen: later, if this process had to wait.
        self.earliest: list[float] = []
        self.times: list[float] = []
        self.pulses = deque([monotonic()], maxlen=3)
        self.now = self.most = 0
        self.broken = False  # then every path but robots.txt is 503

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.earliest.append(self.pulses[0])
        self.times.append(monotonic())
        self.asked[request.path] += 1
        self.agents.add(request.headers["User-Agent"])
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self.page(request)
        finally:
            self.now -= 1

    async def pulse(self) -> None:
        """Notes the time every few milliseconds that this process runs; see benchmarks/polite_hosts.py."""
        while True:
            self.pulses.append(monotonic())
            await asyncio.sleep(PULSE_S)

    async def page(self, request: web.Request) -> web.StreamResponse:
        count = self.asked[request.path]
        words = request.path.split("/")[1:]
        if words == ["robots.txt"]:
            robots = self.robots.pop(0) if len(self.robots) > 1 else self.robots[0]
            if isinstance(robots, int):
                return web.Response(status=robots)
            if robots.startswith("-> "):
                return web.Response(status=301, headers={"Location": robots.removeprefix("-> ")})
            return web.Response(text=robots)
        if self.broken:
            return web.Response(status=503)
        match words:
            case ["rules", "hop", left]:
                raise web.HTTPFound(f"/rules/hop/{int(left) - 1}" if int(left) else "/rules")
            case ["rules"]:
                return web.Response(text="User-agent: *\nDisallow: /ok")
            case ["ok"]:
                await asyncio.sleep(0.01)
                return web.Response(body=b"body", headers={"ETag": '"e"', "Last-Modified": formatdate(0)})
            case ["known"]:
                if request.headers.get("If-None-Match") == '"e"':
                    return web.Response(status=304)
                if request.headers.get("If-Modified-Since") == formatdate(0):
                    return web.Response(status=304)
                return web.Response(body=b"new", headers={"ETag": '"e2"'})
            case ["tag"]:
                response = web.Response(body=b"tagged")
                for value in request.query.getall("say"):
                    response.headers.add("X-Robots-Tag", value)
                return response
            case ["code", code]:
                return web.Response(status=int(code))
            case ["busy", wait]:
                later = formatdate(time() + int(wait[4:]), usegmt=True) if wait.startswith("date") else wait
                code = 429 if count == 1 else 503
                return web.Response(status=200 if count > 2 else code, headers={"Retry-After": later})
            case ["hop", left]:
                raise web.HTTPFound(f"/hop/{int(left) - 1}" if int(left) else "/ok")
            case ["to"]:
                return web.Response(status=302, headers={"Location": request.query["url"]})
            case ["slow"]:
                await asyncio.sleep(30)
            case ["big"]:
                return web.Response(body=b"x" * 5000)
            case ["stream"]:  # without a length, for as long as it is read
                return await self._drip(request, [b"x" * 1000] * 1000)
            case ["drip"]:  # each piece comes in time, the whole never does
                return await self._drip(request, [b"x"] * 1000, wait_s=0.05)
            case ["cut"]:
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b"x" * 10)
                assert request.transport is not None
                request.transport.abort()
                return response
            case ["gzip"]:
                return _encoded(gzip.compress(b"x" * 3000), "gzip")
            case ["deflate"]:
                return _encoded(zlib.compress(b"x" * 3000), "deflate")
            case ["bomb"]:
                return _encoded(BOMB, "gzip")
            case ["halfgzip"]:
                return _encoded(gzip.compress(b"x" * 3000)[:-9], "gzip")
            case ["notgzip"]:
                return _encoded(b"x" * 100, "gzip")
            case ["brotli"]:
                return _encoded(b"x" * 100, "br")
            case ["garbled"]:  # no HTTP
                assert request.transport is not None
                request.transport.write(b"HTTP/x.y what\r\n\r\n")
                request.transport.close()
            case ["drop"]:
                assert request.transport is not None
                request.transport.abort()
        return web.Response(body=b"other")

    async def _drip(self, request: web.Request, pieces: list[bytes], wait_s: float = 0) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(wait_s)
        return response


def _encoded(body: bytes, encoding: str) -> web.Response:
    response = web.Response(body=body)
    response.headers["Content-Encoding"] = encoding
    return response


def on_site(site: Site, use: Callable[[Fetcher, str], Awaitable[T]], **settings: object) -> T:
    """Runs `use` with a fetcher and the site's base URL."""

    async def run() -> T:
        app = web.Application()
        app.router.add_get("/{path:.*}", site.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        beating = asyncio.create_task(site.pulse())
        quick = {"backoff_s": 0.01, "max_bytes": 4000, "breaker_pause_s": 0.01}
        async with Fetcher(CrawlConfig(**{**LOCAL_SERVER, **quick, **settings})) as fetcher:
            result = await use(fetcher, f"http://127.0.0.1:{runner.addresses[0][1]}")
        beating.cancel()
        await runner.cleanup()
        return result

    return asyncio.run(run())


async def status(fetcher: Fetcher, url: str, condition: dict[str, str] | None = None) -> str:
    """What became of fetching `url`: its body as text, "same", or the reason why not."""
    try:
        async with fetcher.fetch(url, condition=condition) as fetched:
            return (fetched.body.decode()[:10] or "empty") if isinstance(fetched, Fetched) else "same"
    except FetchError as error:
        assert str(error)
        return error.status
