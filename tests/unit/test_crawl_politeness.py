"""What a host is owed, seen from the server: robots.txt, the pace, and peace when it is down."""

import asyncio
from collections.abc import Sequence

import pytest
from yarl import URL

from facap.crawl.fetch import Fetcher
from tests.crawl_site import Site, on_site, status

NO_BIG = "User-agent: *\nDisallow: /big"


def outcomes(site: Site, paths: Sequence[str], wait_s: float = 0, **settings: object) -> list[str]:
    """What becomes of each path, asked one after the other."""

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        found = []
        for path in paths:
            found.append(await status(fetcher, base + path))
            await asyncio.sleep(wait_s)
        return found

    return on_site(site, use, **settings)


@pytest.mark.parametrize(
    ("robots", "path", "wanted"),
    [
        (NO_BIG, "/big", "robots_disallowed"),
        ("\ufeff" + NO_BIG, "/big", "robots_disallowed"),
        (NO_BIG, "/ok", "body"),
        ("User-agent: facap\nDisallow: /\n\nUser-agent: *\nAllow: /", "/ok", "robots_disallowed"),
        ("User-agent: *\nDisallow: /ok", "/hop/0", "robots_disallowed"),  # where a redirect leads
        ("<html>no rules here", "/ok", "body"),
        ("User-agent: *\nDisallow: /ok\n" + "#" * 600_000, "/ok", "robots_disallowed"),  # read so far
        ("#" * 600_000 + "\nUser-agent: *\nDisallow: /", "/ok", "body"),
        ("-> /rules", "/ok", "robots_disallowed"),
        ("-> /rules/hop/3", "/ok", "robots_disallowed"),  # five redirects
        ("-> /rules/hop/9", "/ok", "body"),  # too many: as if there were none
        ("-> http://10.0.0.1/robots.txt", "/ok", "blocked_address"),
        ("User-agent: *\nCrawl-delay: 3600", "/ok", "robots_disallowed"),  # honoured by staying away
        (404, "/ok", "body"),
        (403, "/ok", "body"),
        (401, "/ok", "body"),
        (500, "/ok", "robots_unreachable"),
        (503, "/ok", "robots_unreachable"),
        (429, "/ok", "robots_unreachable"),
    ],
)
def test_robots_txt_is_obeyed(robots: str | int, path: str, wanted: str) -> None:
    assert outcomes(Site(robots), [path], attempts=1) == [wanted]


def test_robots_txt_can_be_left_unread() -> None:
    site = Site("User-agent: *\nDisallow: /")
    assert outcomes(site, ["/ok"], obey_robots=False) == ["body"] and not site.asked["/robots.txt"]


def test_robots_txt_is_read_once_for_all_and_anew_when_it_is_old() -> None:
    site = Site(["", NO_BIG])
    assert outcomes(site, ["/big"] * 5, max_bytes=9000) == ["x" * 10] * 5
    assert site.asked["/robots.txt"] == 1
    site = Site(["", NO_BIG])
    found = outcomes(site, ["/big", "/big"], 0.2, robots_max_age_s=0.1, max_bytes=9000)
    assert found == ["x" * 10, "robots_disallowed"]


def test_old_rules_serve_while_there_are_no_new_ones() -> None:
    site = Site([NO_BIG, 503])
    found = outcomes(site, ["/big", "/ok", "/big"], 0.2, robots_max_age_s=0.1, attempts=1)
    assert found == ["robots_disallowed", "body", "robots_disallowed"] and site.asked["/robots.txt"] > 3


def test_a_robots_txt_that_comes_late_is_waited_for() -> None:
    site = Site([503, 503, ""])
    assert outcomes(site, ["/ok"], attempts=1) == ["body"] and site.asked["/robots.txt"] == 3


@pytest.mark.parametrize(
    ("robots", "rate"), [("", 20.0), ("User-agent: *\nCrawl-delay: 0.05", 0.0), ("", 50.0)]
)
def test_the_pace_is_kept_at_any_moment(robots: str, rate: float) -> None:
    site = Site(robots)

    async def use(fetcher: Fetcher, base: str) -> None:
        await asyncio.gather(*(status(fetcher, f"{base}/hop/{n % 3}") for n in range(12)))

    on_site(site, use, max_rate_per_host=rate)
    least = 1 / rate if rate else 0.05
    assert len(site.times) > 24
    spans = [later - sooner for sooner, later in zip(site.earliest, site.times[10:], strict=False)]
    assert min(spans) > 10 * least  # ten gaps; what was seen late is not held against the crawl


def test_few_requests_at_a_time() -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        return await asyncio.gather(*(status(fetcher, base + "/ok") for _ in range(40)))

    assert on_site(site, use, max_connections_per_host=4) == ["body"] * 40
    assert site.asked == {"/robots.txt": 1, "/ok": 40} and site.most == 4


def test_a_host_that_waits_holds_up_no_other() -> None:
    """One place for all: the slow host's pace is kept without it."""
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        slow = [asyncio.ensure_future(status(fetcher, base + "/ok")) for _ in range(8)]
        other = base.replace("127.0.0.1", "localhost")  # the same server by another name: a host of its own
        quick = [await status(fetcher, other + "/ok") for _ in range(3)]
        left = [task.done() for task in slow]
        await asyncio.gather(*slow)
        return [*quick, "waiting" if not all(left) else "done"]

    found = on_site(site, use, max_connections=1, max_rate_per_host=5.0)
    assert found == ["body"] * 3 + ["waiting"]


def test_a_dead_host_is_left_alone_and_the_rest_of_its_urls_fail_at_once() -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        assert await status(fetcher, base + "/ok") == "body"
        site.broken = True
        return await asyncio.gather(*(status(fetcher, f"{base}/ok?{n}") for n in range(500)))

    found = on_site(site, use, breaker_failures=6, max_connections_per_host=2)
    assert found.count("host_down") > 480 and set(found) <= {"host_down", "http_503"}
    assert site.asked["/ok"] - 1 <= 6 + 1 + 3  # the last beside it was under way, then three trials


def test_a_host_that_recovers_is_crawled_on() -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        assert await status(fetcher, base + "/ok") == "body"
        site.broken = True
        tasks = [asyncio.ensure_future(status(fetcher, f"{base}/ok?{n}")) for n in range(100)]
        while site.asked["/ok"] < 6:
            await asyncio.sleep(0.01)
        site.broken = False
        return await asyncio.gather(*tasks)

    found = on_site(site, use, breaker_failures=4, breaker_pause_s=0.3, attempts=2)
    assert found.count("body") > 80 and "host_down" not in found


def test_missing_pages_do_not_make_a_host_dead() -> None:
    found = outcomes(Site(), ["/code/404"] * 30 + ["/code/500"] * 10, breaker_failures=5)
    assert found == ["http_404"] * 30 + ["http_500"] * 10


def test_hosts_without_end_are_forgotten_but_not_one_that_is_owed_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("facap.crawl.fetch.MAX_HOSTS", 10)

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        paused = fetcher._site(URL("http://paused.example/")).host
        paused.pause(60)
        for n in range(100):
            fetcher._site(URL(f"http://h{n}.example/"))
        assert len(fetcher._sites) <= 11
        assert fetcher._site(URL("https://paused.example:8443/")).host is paused
        return list(fetcher._sites)

    assert "h99.example" in on_site(Site(), use)
