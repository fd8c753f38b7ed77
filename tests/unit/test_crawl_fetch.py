"""Fetching from a real local server: redirects, retries, caps, time-outs, opt-outs and conditions."""

import asyncio
import re

import pytest
from pydantic import ValidationError

from facap.crawl.address import BadUrl
from facap.crawl.config import CrawlConfig
from facap.crawl.fetch import Fetcher
from facap.crawl.outcome import Elsewhere, Fetched, FetchError
from facap.crawl.safety import parse_url
from facap.errors import FacapError
from tests.crawl_site import Site, on_site, status


def outcome(site: Site, path: str, condition: dict[str, str] | None = None, **settings: object) -> str:
    """What becomes of one path."""
    return on_site(site, lambda fetcher, base: status(fetcher, base + path, condition), **settings)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/ok", "body"),
        ("/hop/4", "body"),
        ("/hop/5", "too_many_redirects"),
        ("/code/404", "http_404"),
        ("/code/410", "http_410"),
        ("/code/204", "http_204"),
        ("/code/302", "http_302"),  # a redirect to nowhere
        ("/code/500", "http_500"),
        ("/code/304", "same"),
        ("/busy/0", "empty"),
        ("/big", "too_large"),
        ("/stream", "too_large"),
        ("/cut", "connection"),
        ("/gzip", "x" * 10),
        ("/deflate", "x" * 10),
        ("/bomb", "too_large"),
        ("/halfgzip", "content_encoding"),
        ("/notgzip", "content_encoding"),
        ("/brotli", "content_encoding"),
        ("/slow", "timeout"),
        ("/drip", "timeout"),
        ("/drop", "connection"),
        ("/to?url=http://10.0.0.1/x", "blocked_address"),
        ("/to?url=http://[::ffff:169.254.169.254]/latest", "blocked_address"),
        ("/to?url=http://8.8.8.8/", "blocked_address"),  # public, but there is no contact
        ("/to?url=file:///etc/passwd", "bad_url"),
        ("/to?url=http://[", "bad_url"),
    ],
)
def test_every_outcome_has_its_status(path: str, wanted: str) -> None:
    settings: dict[str, object] = {}
    if path in ("/slow", "/drip"):  # robots.txt has to come in time, which a busy machine may not manage
        settings = {"total_timeout_s": 0.3, "read_timeout_s": 0.2, "obey_robots": False}
    assert outcome(Site(), path, attempts=3 if "busy" in path else 2, **settings) == wanted


@pytest.mark.parametrize("path", ["/to?sig=SECRET&url=ftp://b/", "/garbled?sig=SECRET"])
def test_no_error_says_the_query_of_an_address(path: str) -> None:
    """It may be a signature. Errors of ours, and of aiohttp."""

    async def use(fetcher: Fetcher, base: str) -> str:
        with pytest.raises(FetchError) as raised:
            async with fetcher.fetch(base + path):
                pass
        return str(raised.value)

    said = on_site(Site(), use, obey_robots=False, attempts=1)
    assert said and "SECRET" not in said
    if path.startswith("/to"):
        assert re.fullmatch(r"redirect from http://127\.0\.0\.1:\d+/to: the scheme .* 'ftp'", said)


def test_no_error_says_the_password_of_an_address() -> None:
    for address in [
        "http://u:SECRET@b\u2100.example/",
        "http://u:SECRET@[zz]/",
        "http://u:SECRET@b.example/",
    ]:
        with pytest.raises(BadUrl) as raised:
            parse_url(address)
        assert "SECRET" not in str(raised.value)


def test_what_may_help_is_tried_again_and_nothing_else() -> None:
    site = Site()
    paths = ["/code/404", "/code/410", "/code/503", "/drop", "/big", "/notgzip"]
    for path in [*paths, "/tag?say=noai"]:
        outcome(site, path, attempts=3)
    assert [site.asked[p] for p in [*paths, "/tag"]] == [1, 1, 3, 3, 1, 1, 1]


@pytest.mark.parametrize("wait", ["1", "date2"])
def test_retry_after_holds_back_every_request_to_the_host(wait: str) -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        first = asyncio.ensure_future(status(fetcher, f"{base}/busy/{wait}"))
        while not site.asked[f"/busy/{wait}"]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        return [await status(fetcher, base + "/ok"), await first]

    assert on_site(site, use, attempts=3, max_wait_s=5) == ["body", "empty"]
    robots, first, second = site.times[:3]
    assert second - first >= 0.9 and site.asked["/ok"] == 1
    assert first - robots < second - first  # not held back before it was asked to wait


def test_a_host_that_asks_for_more_peace_than_we_wait_is_left_alone() -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> list[str]:
        return [await status(fetcher, base + path) for path in ("/busy/3600", "/ok", "/big")]

    assert on_site(site, use, attempts=3) == ["http_429", "host_down", "host_down"]
    assert site.asked == {"/robots.txt": 1, "/busy/3600": 1}


@pytest.mark.parametrize(
    ("say", "wanted"),
    [
        ("noai", "opted_out"),
        ("NoImageAI", "opted_out"),
        ("noindex, nofollow", "opted_out"),
        ("max-snippet: 5, noindex", "opted_out"),
        ("facap: noai", "opted_out"),
        ("*: noai", "opted_out"),
        ("googlebot: nofollow, facap: noai", "opted_out"),
        ("nofollow&say=noai", "opted_out"),
        ("none", "opted_out"),
        ("googlebot: noai, noindex", "tagged"),
        ("nofollow", "tagged"),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", "tagged"),
        ("noaid", "tagged"),
    ],
)
def test_x_robots_tag_is_honoured(say: str, wanted: str) -> None:
    assert outcome(Site(), f"/tag?say={say}") == wanted
    assert outcome(Site(), f"/tag?say={say}", opt_outs=()) == "tagged"


def test_what_is_known_is_asked_for_with_a_condition() -> None:
    assert outcome(Site(), "/known", {"If-None-Match": '"e"'}) == "same"
    assert outcome(Site(), "/known", {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 -0000"}) == "same"
    assert outcome(Site(), "/known", {"If-None-Match": '"old"'}) == "new"


def test_a_redirect_to_another_host_can_be_left_to_others() -> None:
    async def use(fetcher: Fetcher, base: str) -> tuple[str, int]:
        fetcher.stay = True
        other = base.replace("127.0.0.1", "127.0.0.2") + "/big"
        with pytest.raises(Elsewhere) as raised:
            async with fetcher.fetch(f"{base}/to?url={base}/to?url={other}"):
                pass
        assert raised.value.url == other
        return other, raised.value.hops

    assert on_site(Site(), use)[1] == 2


def test_the_body_comes_with_what_a_condition_needs_and_we_say_who_we_are() -> None:
    site = Site()

    async def use(fetcher: Fetcher, base: str) -> Fetched:
        async with fetcher.fetch(base + "/ok") as fetched:
            assert isinstance(fetched, Fetched)
            return fetched

    wanted = Fetched(b"body", '"e"', "Thu, 01 Jan 1970 00:00:00 -0000")
    assert on_site(site, use, contact="https://a.example/crawler") == wanted
    (agent,) = site.agents
    assert agent.startswith("facap/") and "https://a.example/crawler" in agent


def test_bodies_in_memory_are_bounded() -> None:
    most, now = 0, 0

    async def use(fetcher: Fetcher, base: str) -> None:
        async def hold() -> None:
            nonlocal most, now
            async with fetcher.fetch(base + "/ok"):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.02)
                now -= 1

        await asyncio.gather(*(hold() for _ in range(30)))

    on_site(Site(), use, max_connections=3)
    assert most == 3


@pytest.mark.parametrize("contact", ["us", "https://a.example/\r\nX-Evil: 1", "a b@c.example", "ftp://a"])
def test_a_contact_must_be_one(contact: str) -> None:
    with pytest.raises(ValidationError, match="mail address or an http"):
        CrawlConfig(contact=contact)


def test_networks_must_be_networks() -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        CrawlConfig(allow_networks=("localhost",))
    assert not issubclass(FetchError, FacapError)  # a failed row, never a failed job


def test_only_settings_that_change_the_result_are_in_the_key() -> None:
    base = CrawlConfig()
    patient = CrawlConfig(num_workers=3, attempts=9, max_failure_rate=1, contact="a@b.example")
    assert base.for_key() == patient.for_key()
    assert base.for_key() != CrawlConfig(longest_side=256).for_key()
    assert base.for_key() != CrawlConfig(revalidate="monday").for_key()
