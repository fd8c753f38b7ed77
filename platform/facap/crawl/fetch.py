"""One URL -> its bytes, or one reason why not. Retries, redirects, limits and robots.txt live here.

    async with Fetcher(config) as fetcher:
        body = await fetcher.fetch("https://example.com/a.jpg")     # Fetched, or raises FetchError

Reasons (`FetchError.status`): bad_url, blocked_address, robots_disallowed, http_<code>, timeout,
dns, connection, tls, too_large, too_many_redirects, content_encoding.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from types import TracebackType

import aiohttp
import stamina
from aiohttp import ClientTimeout, DummyCookieJar
from protego import Protego
from yarl import URL

import facap
from facap.crawl.config import CrawlConfig
from facap.crawl.politeness import ROBOTS_MAX_BYTES, Host
from facap.crawl.safety import AddressPolicy, BadUrl, BlockedAddress, checked_connector, parse_url

AGENT = "facap"  # the product token that robots.txt rules are matched with
REDIRECTS = (301, 302, 303, 307, 308)
RETRIED = (408, 429, 500, 502, 503, 504)


class FetchError(Exception):
    """A URL that could not be had; `status` is the reason, `retry_after_s` what the server asked for."""

    def __init__(
        self, status: str, message: str, retry: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.retry, self.retry_after_s = status, retry, retry_after_s


@dataclass(frozen=True)
class Fetched:
    """A whole body, and the etag it came with."""

    body: bytes
    etag: str | None = None


@dataclass(frozen=True)
class _Moved:
    location: str


def user_agent(contact: str) -> str:
    """Who we are, in the customary form."""
    return f"{AGENT}/{facap.__version__}" + (f" (+{contact})" if contact else "")


class Fetcher:
    """Fetches many URLs at once within the limits of `config`. `share` divides the limits per host."""

    def __init__(self, config: CrawlConfig, share: int = 1) -> None:
        self.config, self.share = config, share
        self._hosts: dict[URL, Host] = {}

    async def __aenter__(self) -> "Fetcher":
        c = self.config
        self._session = aiohttp.ClientSession(
            connector=checked_connector(AddressPolicy(c.allow_networks)),
            timeout=ClientTimeout(
                total=c.total_timeout_s, sock_connect=c.connect_timeout_s, sock_read=c.read_timeout_s
            ),
            headers={
                "User-Agent": user_agent(c.contact),
                "Accept": "image/avif,image/webp,image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",  # a compressed body could unfold past any cap
            },
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, address: str) -> Fetched:
        """The bytes at `address`, after redirects; raises FetchError."""
        url = _parsed(address)
        for _ in range(self.config.max_redirects + 1):
            host = self._host(url)
            if self.config.obey_robots and not await host.may_fetch(url, AGENT, self._read_robots):
                raise FetchError("robots_disallowed", f"robots.txt of {url.host} disallows {url.path}")
            answer = await self._get(url, host, self.config.max_bytes)
            if isinstance(answer, Fetched):
                return answer
            url = _joined(url, answer.location)
        raise FetchError("too_many_redirects", f"more than {self.config.max_redirects} redirects")

    def _host(self, url: URL) -> Host:
        origin = url.origin()
        if origin not in self._hosts:
            connections = max(1, self.config.max_connections_per_host // self.share)
            self._hosts[origin] = Host(self.config.max_rate_per_host / self.share, connections)
        return self._hosts[origin]

    async def _read_robots(self, url: URL) -> Protego | None:
        """The rules at `url`. As RFC 9309 says: none exist -> all allowed, server errors -> None."""
        try:
            for _ in range(self.config.max_redirects + 1):
                answer = await self._get(url, self._host(url), ROBOTS_MAX_BYTES)
                if isinstance(answer, Fetched):
                    return Protego.parse(answer.body.decode("utf-8", "replace"))
                url = _joined(url, answer.location)
        except FetchError as error:
            if error.status.startswith("http_5") or error.status == "http_429":
                return None
            if not error.status.startswith("http_") and error.status != "too_large":
                raise FetchError(error.status, f"robots.txt of {url.host}: {error}") from error
        return Protego.parse("")

    async def _get(self, url: URL, host: Host, max_bytes: int) -> Fetched | _Moved:
        """One URL without following redirects, tried again where that may help."""
        c = self.config
        retries = stamina.retry_context(
            on=self._wait_s,
            attempts=c.attempts,
            timeout=None,
            wait_initial=c.backoff_s,
            wait_max=c.max_wait_s,
            wait_jitter=c.backoff_s,
        )
        async for attempt in retries:
            with attempt:
                async with host.turn():
                    return await self._request(url, max_bytes)
        raise AssertionError("the last attempt returns or raises")

    def _wait_s(self, error: Exception) -> bool | float:
        """Whether to try again, and after how many seconds if the server said so."""
        if not isinstance(error, FetchError) or not error.retry:
            return False
        if error.retry_after_s is None:
            return True
        return error.retry_after_s if error.retry_after_s <= self.config.max_wait_s else False

    async def _request(self, url: URL, max_bytes: int) -> Fetched | _Moved:
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                return await _read(response, max_bytes)
        except aiohttp.InvalidURL as error:
            raise FetchError("bad_url", str(error)) from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise FetchError("tls", str(error)) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, BlockedAddress):
                raise FetchError("blocked_address", str(error.os_error)) from error
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                raise FetchError("dns", str(error), retry=True) from error
            raise FetchError("connection", str(error), retry=True) from error
        except TimeoutError as error:
            raise FetchError(
                "timeout", f"no answer in time: {error or 'total time-out'}", retry=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise FetchError("connection", f"{type(error).__name__}: {error}", retry=True) from error


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> Fetched | _Moved:
    headers, code = response.headers, response.status
    if code in REDIRECTS and "Location" in headers:
        return _Moved(headers["Location"])
    if code != 200:
        wait = _retry_after_s(headers.get("Retry-After"))
        raise FetchError(f"http_{code}", f"HTTP {code} {response.reason}", code in RETRIED, wait)
    if headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise FetchError("content_encoding", f"asked for plain bytes, got {headers['Content-Encoding']}")
    if (response.content_length or 0) > max_bytes:
        raise FetchError("too_large", f"{response.content_length} bytes, more than {max_bytes}")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise FetchError("too_large", f"more than {max_bytes} bytes")
    return Fetched(bytes(body), headers.get("ETag"))


def _retry_after_s(value: str | None) -> float | None:
    """Retry-After in seconds from now; it is a number of seconds or an HTTP date."""
    if value is None:
        return None
    try:
        return max(
            0.0,
            float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time(),
        )
    except (ValueError, OverflowError):
        return None


def _parsed(address: str) -> URL:
    try:
        return parse_url(address)
    except BadUrl as error:
        raise FetchError("bad_url", str(error)) from error


def _joined(url: URL, location: str) -> URL:
    try:
        return parse_url(str(url.join(URL(location))))
    except ValueError as error:
        raise FetchError("bad_url", f"redirect from {url}: {error}") from error
