"""No crawl reaches an address that is not public, however it is spelled."""

import ipaddress

import pytest

from benchmarks.ssrf_cases import NAMES, NOT_PUBLIC, REACHED, REFUSED, SPELLED, attack, cases
from facap.crawl.safety import AddressPolicy, BadUrl, is_own, is_public, parse_url

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::6810:84e5", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address.replace("%25", "%")))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_allowed_networks_and_no_others() -> None:
    policy = AddressPolicy(["10.0.0.0/8", "fd00::/8"])
    assert policy.allows("10.1.2.3") and policy.allows("::ffff:10.1.2.3") and policy.allows("fd00::1")
    assert not policy.allows("127.0.0.1") and not policy.allows("fe80::1%eth0")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    return attack()


@pytest.mark.parametrize("case", cases())
def test_no_case_gets_through(case: str, outcomes: dict[str, str]) -> None:
    assert outcomes[case] in REFUSED


def test_the_cases_are_many_and_the_server_is_there(outcomes: dict[str, str]) -> None:
    assert len(outcomes) == len(cases()) >= 100
    named = [f"http://{name}:{{port}}/" for name in NAMES]
    assert {outcomes[case] for case in named} == {"blocked_address"}  # refused, not just unknown
    with pytest.MonkeyPatch.context() as patch:  # it is the gate that refuses them, not chance
        patch.setattr(AddressPolicy, "allows", lambda self, host: True)
        hops = [case for case in cases() if "/hop/" in case]
        assert set(attack([*named, *hops]).values()) == {REACHED}
        assert list(attack(SPELLED).values()).count(REACHED) >= 10  # aiohttp refuses other spellings itself


def test_without_a_contact_only_what_is_allowed_by_name() -> None:
    policy = AddressPolicy(["127.0.0.0/8"], public=False)
    assert policy.allows("127.0.0.1") and not policy.allows("8.8.8.8")
    assert "crawl.contact" in str(policy.refusal("8.8.8.8"))
    networks = ["10.0.0.0/8", "127.0.0.0/8"]
    assert all(is_own(name, networks) for name in ("10.1.2.3", "127.0.0.1", "localhost", "::ffff:10.1.2.3"))
    assert not any(is_own(name, networks) for name in ("8.8.8.8", "192.168.0.1", "shop.example", "::1"))
    assert not is_own("localhost", [])


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
        ("http://a.example\\@b.example/", "backslash"),
        ("http://a.example/\r\nx", "control character"),
    ],
)
def test_bad_urls_say_why(text: str, says: str) -> None:
    with pytest.raises(BadUrl, match=says):
        parse_url(text)


def test_good_urls_lose_only_their_fragment() -> None:
    text = "https://a.example/b%20c.jpg?x=1&y=%2F"
    assert str(parse_url(f" {text}#z ")) == text
