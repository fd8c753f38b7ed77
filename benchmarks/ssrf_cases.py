"""Addresses that must never be reached, and an attack with each on a real fetcher and a real server.

    outcomes = attack()             # case -> status
    passed = [case for case, status in outcomes.items() if status not in REFUSED]

A server listens on every address of this machine at the port that the cases name: a connection that is made
would be answered, and the case's status be REACHED.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from facap.crawl.config import CrawlConfig
from facap.crawl.fetch import Fetcher
from facap.crawl.outcome import FetchError

REACHED = "reached"
REFUSED = ("blocked_address", "bad_url", "dns")  # dns: a name that is none, looked up and not found

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "0:0:0:0:0:ffff:7f00:1", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "2001:db8::1", "3fff::1", "5f00::1", "100::1",
    "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%25lo", "fec0::1", "ff02::1",
]  # fmt: skip
"""Private, shared, loopback, link-local, metadata, multicast, reserved; and such inside IPv6 in every way."""

SPELLED = [
    "http://localhost:{port}/",
    "http://localhost.:{port}/",
    "http://LOCALHOST:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://2130706433:{port}/",  # 127.0.0.1 as one number
    "http://0x7f000001:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0177.0x0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://0:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127．0．0．1:{port}/",
    "http://127｡0｡0｡1:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example:{port}/",
    "http://127.0.0.1%2f@[::1]:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://user:secret@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1:{port}\r\nHost: example.com/",
    "https://127.0.0.1:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
]
"""Odd ways to write them, tricks on parsers, and other schemes."""

NAMES = {
    "private.example": ["127.0.0.1"],
    "private6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "mixed.example": ["93.184.215.14", "127.0.0.1"],
    "mixed6.example": ["2606:4700::6810:84e5", "::1"],
    "changes.example": ["93.184.215.14 then 127.0.0.1"],
    "changes6.example": ["2606:4700::6810:84e5 then ::1"],
}
"""Names and their addresses; "a then b" is `a` when it is looked up and `b` when it is connected to."""

HOPS = (1, 2, 3, 4, 5)  # redirects before the one that leads to a private address


class _Shifty(dict):
    """An answer of a name server that is another address the second time one looks at it."""

    def __init__(self, answer: ResolveResult, later: str) -> None:
        super().__init__(answer)
        self._later = later

    def __getitem__(self, key: str) -> object:
        found = super().__getitem__(key)
        if key == "host":
            self["host"] = self._later
        return found


class Names(AbstractResolver):
    """Knows NAMES only."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`."""
        if host not in NAMES:
            raise OSError(f"no such name: {host}")
        return [_answer(host, port, text) for text in NAMES[host]]

    async def close(self) -> None:
        """Nothing is held."""


def _answer(host: str, port: int, text: str) -> ResolveResult:
    now, _, later = text.partition(" then ")
    answer = ResolveResult(
        hostname=host,
        host=now,
        port=port,
        family=socket.AF_INET6 if ":" in now else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )
    return _Shifty(answer, later) if later else answer  # type: ignore[return-value]


def cases() -> list[str]:
    """Every case; "{port}" stands for the port of the server that must not be reached."""
    literal = [f"http://[{a}]:{{port}}/" if ":" in a else f"http://{a}:{{port}}/" for a in NOT_PUBLIC]
    named = [f"http://{name}:{{port}}/" for name in NAMES]
    hops = [f"http://127.0.0.1:{{port}}/hop/{hop}" for hop in HOPS]
    return [*literal, *SPELLED, *named, *hops]


def attack(chosen: Iterable[str] | None = None) -> dict[str, str]:
    """The status that each case ends with, robots.txt left aside."""
    return asyncio.run(_attack(list(cases() if chosen is None else chosen)))


async def _attack(chosen: list[str]) -> dict[str, str]:
    outcomes = {}
    base = CrawlConfig(contact="https://a.example/bot", attempts=1, obey_robots=False, connect_timeout_s=2.0)
    async with _listening() as port:
        for case in chosen:
            # A redirect has to start at a server that may be reached: this one, by one of its addresses.
            own = ("127.0.0.1/32",) if "/hop/" in case else ()
            config = base.model_copy(update={"allow_networks": own})
            resolver = Names() if ".example:" in case and "%" not in case and "\\" not in case else None
            async with Fetcher(config, resolver=resolver) as fetcher:
                try:
                    async with fetcher.fetch(case.replace("{port}", str(port))):
                        outcomes[case] = REACHED
                except FetchError as error:
                    outcomes[case] = error.status
    return outcomes


@asynccontextmanager
async def _listening() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        words = request.path.strip("/").split("/")
        if words[0] == "hop":
            left = int(words[1]) - 1
            raise web.HTTPFound(f"/hop/{left}" if left else f"http://127.0.0.2:{port}/")
        return web.Response(body=b"secret")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as listener:
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("", 0))
        port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        yield port
        await runner.cleanup()
