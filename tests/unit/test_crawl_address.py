"""Addresses reach the server as they were written, and whatever is written makes one request at most."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from protego import Protego
from yarl import URL

from facap.crawl import robots
from facap.crawl.address import BadUrl, resolve, split
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.crawl.fetch import Fetcher
from facap.crawl.safety import host_name, parse_url
from tests.crawl_site import status
from tests.raw_site import RawSite, http, moved, raw_site

LEGAL = "ABCxyz019-._~!$&'()*+,;=:@/"  # RFC 3986: pchar and slashes
PIECE = st.sampled_from(
    [*LEGAL, "%2F", "%2f", "%7E", "%41", "%25", "%00", "%C3%A9", "%2e%2e", "/../", "//", "/./"]
)
PATH = st.lists(PIECE, max_size=12).map(lambda parts: "/" + "".join(parts))
QUERY = st.none() | st.lists(st.one_of(PIECE, st.just("?")), max_size=8).map("".join)
TARGET = st.builds(lambda path, query: path if query is None else f"{path}?{query}", PATH, QUERY)


@pytest.fixture(scope="module")
def site() -> Iterator[RawSite]:
    with raw_site({}) as site:
        yield site


def fetched(site: RawSite, address: str) -> str:
    async def fetch() -> str:
        config = CrawlConfig(**LOCAL_SERVER, obey_robots=False, attempts=1, max_redirects=1)
        async with Fetcher(config) as fetcher:
            return await status(fetcher, address)

    return asyncio.run(fetch())


@given(TARGET, st.sampled_from(["direct", "path", "address"]))
@settings(deadline=None, max_examples=150)
def test_any_legal_target_arrives_byte_for_byte(site: RawSite, target: str, how: str) -> None:
    if how == "path":
        target = "/" + target.lstrip("/")  # two slashes name another host
    site.answers = {target.encode(): http(b"body"), b"/!!hop": moved(target)}
    if how == "address":
        site.answers[b"/!!hop"] = moved(site.base + target)
    address = site.base + (target if how == "direct" else "/!!hop")
    assert fetched(site, address) == "body"
    assert site.targets[-1] == target.encode()


@given(st.text(max_size=20))
@example(" HTTP/1.1\r\nX: y\r\n\r\nGET /b")
@example("\u2028\x85\xa0\udce9")
@settings(deadline=None, max_examples=150)
def test_any_text_makes_one_request_line_or_none(site: RawSite, text: str) -> None:
    site.answers = {}
    before = len(site.heads)
    outcome = fetched(site, f"{site.base}/{text}")
    assert outcome in ("http_403", "bad_url")
    sent = site.heads[before:]
    assert len(sent) == (outcome == "http_403")
    for head in sent:
        assert re.match(rb"GET /[!-~]* HTTP/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n", head)
        assert b"#" not in head.split(b"\r\n")[0] and head.count(b"\r\n\r\n") == 1


@given(st.binary(max_size=20).filter(lambda raw: not set(raw) & set(b"\r\n\0")))
@settings(deadline=None, max_examples=100)
def test_any_location_leads_to_this_server_or_nowhere(site: RawSite, location: bytes) -> None:
    site.answers = {b"/!!hop": moved(b"/" + location)}
    before = len(site.heads)
    outcome = fetched(site, f"{site.base}/!!hop")
    assert 1 <= len(site.heads) - before <= 2
    assert outcome in (
        "http_403",
        "bad_url",
        "connection",
        "dns",
        "blocked_address",
        "http_302",
        "too_many_redirects",
    )


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("", "https://h/a/b/c.jpg?q=%2f"),
        ("#top", "https://h/a/b/c.jpg?q=%2f"),
        ("d%2F.jpg", "https://h/a/b/d%2F.jpg"),
        ("./d.jpg#x", "https://h/a/b/d.jpg"),
        ("../d/./e.jpg?", "https://h/a/d/e.jpg?"),
        ("../../../d.jpg", "https://h/d.jpg"),
        ("..", "https://h/a/"),
        ("?x=%7E", "https://h/a/b/c.jpg?x=%7E"),
        ("/x/../d.jpg", "https://h/x/../d.jpg"),
        ("//g/d.jpg", "https://g/d.jpg"),
        ("http://g/x/../%7E", "http://g/x/../%7E"),
        (" /d.jpg ", "https://h/d.jpg"),
        ("d/http://e", "https://h/a/b/d/http://e"),
    ],
)
def test_references_resolve_by_rfc_3986(reference: str, address: str) -> None:
    assert resolve("https://h/a/b/c.jpg?q=%2f", reference) == address


def test_a_reference_from_an_address_without_path() -> None:
    assert resolve("https://h", "d.jpg") == "https://h/d.jpg"


@pytest.mark.parametrize(
    "text", ["http://a b/", "http://a:+80/", "http://a:８０/", "http://a: 80/", "http://a\u00a0/x"]
)
def test_hosts_and_ports_are_written_plainly(text: str) -> None:
    with pytest.raises(BadUrl):
        parse_url(text)


@given(st.text(alphabet="ab.:@[]%/\\?#0é。 1-", max_size=14), TARGET)
@settings(max_examples=300)
def test_whom_we_ask_depends_on_the_authority_alone(authority: str, target: str) -> None:
    try:
        url = parse_url(f"http://{authority}{target}")
    except BadUrl:
        return
    _, named, sent = split(f"http://{authority}{target}")
    assert url.raw_path_qs == sent and str(url.origin()) == str(URL(f"http://{named}/").origin())
    again = parse_url(str(url))  # as another worker gets it
    assert (str(again), again.raw_path_qs, host_name(again)) == (str(url), sent, host_name(url))


@pytest.mark.parametrize(
    ("rule", "target", "may"),
    [
        ("/private/", "/private/a.jpg", False),
        ("/private/", "/%70rivate/a.jpg", False),
        ("/private/", "/public/../private/a.jpg", False),
        ("/private/", "/public/%2e%2E/private/a.jpg", False),
        ("/private/", "/./private/a.jpg", False),
        ("/public/", "/public/../private/a.jpg", False),  # as it is written
        ("/a%2Fb", "/a/b", True),
        ("/a%2fb", "/a%2Fb", False),
        ("/*?sig=", "/a.jpg?sig=%2F", False),
        ("/*?", "/a.jpg?", False),
        ("/ä", "/%C3%A4.jpg", False),
        ("/other", "/a|b[1].jpg?%zz", True),
    ],
)
def test_robots_rules_hold_for_what_is_sent_and_for_what_it_means(rule: str, target: str, may: bool) -> None:
    rules = Protego.parse(f"User-agent: *\nDisallow: {rule}")
    assert robots.allowed(rules, parse_url(f"http://h{target}")) is may
