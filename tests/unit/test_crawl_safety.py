"""No crawl reaches an address that is not public, however it is spelled."""

import asyncio
import ipaddress

import pytest

from facap.crawl.config import CrawlConfig
from facap.crawl.fetch import Fetcher, FetchError
from facap.crawl.safety import AddressPolicy, BadUrl, is_public, parse_url

NOT_PUBLIC = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "ff02::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::6810:84e5", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_allowed_networks_and_no_others() -> None:
    policy = AddressPolicy(["10.0.0.0/8", "fd00::/8"])
    assert policy.allows("10.1.2.3") and policy.allows("::ffff:10.1.2.3") and policy.allows("fd00::1")
    assert not policy.allows("127.0.0.1") and not policy.allows("fe80::1%eth0")


@pytest.mark.parametrize(
    "address",
    [
        *(f"http://{a}:9/x" for a in NOT_PUBLIC if ":" not in a),
        *(f"http://[{a}]:9/x" for a in NOT_PUBLIC if ":" in a),
        "http://localhost:9/",
        "http://localhost.:9/",
        "http://2130706433:9/",  # 127.0.0.1 as one number
        "http://0x7f000001:9/",
        "http://0x7f.0.0.1:9/",
        "http://0177.0.0.1:9/",
        "http://127.1:9/",
        "http://①②⑦.⓪.⓪.①:9/",
        "http://127.0.0.1%2f@[::1]:9/",
        "http://example.com@127.0.0.1:9/",
        "http://user:secret@127.0.0.1:9/",
    ],
)
def test_a_fetch_never_gets_as_far_as_connecting(address: str) -> None:
    """A connection that was tried would be refused on port 9 and say "connection"."""

    async def fetch() -> str:
        async with Fetcher(CrawlConfig(attempts=1, obey_robots=False)) as fetcher:
            with pytest.raises(FetchError) as raised:
                await fetcher.fetch(address)
            return raised.value.status

    assert asyncio.run(fetch()) in ("blocked_address", "bad_url", "dns")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "scheme"),
        ("a.jpg", "scheme"),
        ("//host/a.jpg", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("ftp://host/a", "scheme"),
        ("gopher://host/", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("http://", "host"),
        ("http:///a", "host"),
        ("http://host:0/", "port 0"),
        ("http://host:99999/", "URL"),
        ("http://[::1", "URL"),
        ("http://name:word@host/", "user name"),
    ],
)
def test_bad_urls_say_why(text: str, says: str) -> None:
    with pytest.raises(BadUrl, match=says):
        parse_url(text)


def test_good_urls_lose_only_their_fragment() -> None:
    assert (
        str(parse_url(" https://a.example/b%20c.jpg?x=1&y=%2F#z ")) == "https://a.example/b%20c.jpg?x=1&y=/"
    )
