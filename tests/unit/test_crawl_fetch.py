"""Fetching from a real local server: redirects, retries, caps, time-outs and robots.txt."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.crawl.fetch import Fetched, Fetcher, FetchError
from facap.errors import FacapError


class Site:
    """A small website that remembers what it was asked."""

    def __init__(self, robots: str | int = "") -> None:
        self.robots, self.asked, self.agents = robots, Counter(), set()
        self.now = self.most = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.agents.add(request.headers["User-Agent"])
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self.page(request)
        finally:
            self.now -= 1

    async def page(self, request: web.Request) -> web.StreamResponse:
        count = self.asked[request.path]
        match request.path.split("/")[1:]:
            case ["robots.txt"]:
                if isinstance(self.robots, int):
                    return web.Response(status=self.robots)
                return web.Response(text=self.robots)
            case ["ok"]:
                await asyncio.sleep(0.01)
                return web.Response(body=b"body", headers={"ETag": '"e"'})
            case ["code", code]:
                return web.Response(status=int(code))
            case ["busy", wait]:
                return web.Response(status=200 if count > 2 else 503, headers={"Retry-After": wait})
            case ["hop", left]:
                raise web.HTTPFound(f"/hop/{int(left) - 1}" if int(left) else "/ok")
            case ["to"]:
                return web.Response(status=302, headers={"Location": request.query["url"]})
            case ["slow"]:
                await asyncio.sleep(30)
            case ["big"]:
                return web.Response(body=b"x" * 5000)
            case ["stream"]:  # without a length, for as long as it is read
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(1000):
                    await response.write(b"x" * 1000)
                return response
            case ["gzip"]:
                response = web.Response(body=b"x" * 5000)
                response.headers["Content-Encoding"] = "gzip"
                return response
            case ["drop"]:
                assert request.transport is not None
                request.transport.abort()
        return web.Response(body=b"other")


def on_site(site: Site, use: Callable[[Fetcher, str], Awaitable[object]], **settings: object) -> object:
    """Runs `use` with a fetcher and the site's base URL."""

    async def run() -> object:
        app = web.Application()
        app.router.add_get("/{path:.*}", site.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        defaults = {**LOCAL_SERVER, "backoff_s": 0.01, "max_bytes": 4000}
        async with Fetcher(CrawlConfig(**{**defaults, **settings})) as fetcher:
            result = await use(fetcher, f"http://127.0.0.1:{runner.addresses[0][1]}")
        await runner.cleanup()
        return result

    return asyncio.run(run())


def outcome(site: Site, path: str, **settings: object) -> str:
    """The status of fetching one path."""

    async def use(fetcher: Fetcher, base: str) -> str:
        try:
            fetched = await fetcher.fetch(base + path)
        except FetchError as error:
            assert str(error)
            return error.status
        return fetched.body.decode() or "empty"

    return str(on_site(site, use, **settings))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ok", "body"),
        ("/hop/4", "body"),
        ("/hop/5", "too_many_redirects"),
        ("/code/404", "http_404"),
        ("/code/410", "http_410"),
        ("/code/204", "http_204"),
        ("/code/500", "http_500"),
        ("/busy/0", "empty"),
        ("/big", "too_large"),
        ("/stream", "too_large"),
        ("/gzip", "content_encoding"),
        ("/slow", "timeout"),
        ("/drop", "connection"),
        ("/to?url=http://10.0.0.1/x", "blocked_address"),
        ("/to?url=http://[::ffff:169.254.169.254]/latest", "blocked_address"),
        ("/to?url=file:///etc/passwd", "bad_url"),
        ("/to?url=http://[", "bad_url"),
    ],
)
def test_every_outcome_has_its_status(path: str, status: str) -> None:
    settings = {"total_timeout_s": 0.3} if path == "/slow" else {}
    assert outcome(Site(), path, attempts=3 if "busy" in path else 2, **settings) == status


def test_what_may_help_is_tried_again_and_nothing_else() -> None:
    site = Site()
    for path in ("/code/404", "/code/503", "/drop", "/big"):
        outcome(site, path, attempts=3)
    assert [site.asked[p] for p in ("/code/404", "/code/503", "/big")] == [1, 3, 1]
    assert site.asked["/drop"] in (3, 6)  # aiohttp asks once more by itself when a connection drops


def test_retry_after_is_waited_for_but_not_longer_than_allowed() -> None:
    site, started = Site(), time.monotonic()
    assert outcome(site, "/busy/1", attempts=3, max_wait_s=5) == "empty"
    assert 2.0 <= time.monotonic() - started < 20
    site = Site()
    assert outcome(site, "/busy/3600", attempts=3) == "http_503" and site.asked["/busy/3600"] == 1


@pytest.mark.parametrize(
    ("robots", "path", "status"),
    [
        ("User-agent: *\nDisallow: /big", "/big", "robots_disallowed"),
        ("User-agent: *\nDisallow: /big", "/ok", "body"),
        ("User-agent: facap\nDisallow: /\n\nUser-agent: *\nAllow: /", "/ok", "robots_disallowed"),
        ("User-agent: *\nDisallow: /ok", "/hop/0", "robots_disallowed"),  # where a redirect leads
        ("<html>no rules here", "/ok", "body"),
        ("x" * 600_000, "/ok", "body"),
        (404, "/ok", "body"),
        (403, "/ok", "body"),
        (503, "/ok", "robots_disallowed"),
    ],
)
def test_robots_txt_is_obeyed(robots: str | int, path: str, status: str) -> None:
    assert outcome(Site(robots), path, attempts=1) == status
    assert outcome(Site("User-agent: *\nDisallow: /"), "/ok", obey_robots=False) == "body"


def test_robots_txt_is_read_once_and_we_say_who_we_are() -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[Fetched]:
        return await asyncio.gather(*(fetcher.fetch(base + "/ok") for _ in range(40)))

    answers = on_site(site, use, max_connections_per_host=4, contact="https://a.example/crawler")
    assert isinstance(answers, list) and answers[0] == Fetched(b"body", '"e"')
    assert site.asked == {"/robots.txt": 1, "/ok": 40}
    assert site.most <= 4
    (agent,) = site.agents
    assert agent.startswith("facap/") and "https://a.example/crawler" in agent


@pytest.mark.parametrize("robots", ["", "User-agent: *\nCrawl-delay: 0.05"])
def test_the_pace_is_kept(robots: str) -> None:
    async def use(fetcher: Fetcher, base: str) -> float:
        await fetcher.fetch(base + "/ok")
        started = time.monotonic()
        await asyncio.gather(*(fetcher.fetch(base + "/ok") for _ in range(20)))
        return time.monotonic() - started

    took = on_site(Site(robots), use, max_rate_per_host=0.0 if robots else 20.0)
    assert isinstance(took, float) and 0.85 <= took < 20  # 20 requests at 20 a second


def test_networks_must_be_networks() -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        CrawlConfig(allow_networks=("localhost",))
    assert not issubclass(FetchError, FacapError)  # a failed row, never a failed job


def test_only_settings_that_change_the_result_are_in_the_key() -> None:
    base = CrawlConfig()
    assert base.for_key() == CrawlConfig(num_workers=3, attempts=9, max_failure_rate=1, contact="x").for_key()
    assert base.for_key() != CrawlConfig(longest_side=256).for_key()
