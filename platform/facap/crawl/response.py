"""An HTTP response -> its body, whole and within the cap, or the reason why it is not taken.

>>> opted_out(["facap: noai, nofollow"], ("noai",)), opted_out(["googlebot: noai"], ("noai",))
('noai', None)
"""

import re
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from time import time

from aiohttp import ClientResponse

from facap.crawl.encodings import Decoder, TooLarge, Undecodable
from facap.crawl.outcome import Fetched, FetchError, Moved, NotModified
from facap.crawl.robots import AGENT

REDIRECTS = (301, 302, 303, 307, 308)
RETRIED = (408, 429, 500, 502, 503, 504)
HOST_FAULTS = (429, 502, 503, 504)  # these are said for the whole host; 408 and 500 may be one URL's
_WITH_VALUES = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


async def read_response(
    response: ClientResponse, max_bytes: int, opt_outs: Iterable[str] = (), cut: bool = False
) -> Fetched | NotModified | Moved:
    """What `response` says; raises FetchError. `cut`: a longer body is cut at `max_bytes`, not refused."""
    headers, code = response.headers, response.status
    if code < 400 and (word := opted_out(headers.getall("X-Robots-Tag", []), opt_outs)):
        raise FetchError("opted_out", f"X-Robots-Tag says {word}", answered=True)
    if code in REDIRECTS and "Location" in headers:
        return Moved(headers["Location"])
    if code == 304:
        return NotModified()
    if code != 200:
        fault = code in HOST_FAULTS
        wait = _retry_after_s(headers.get("Retry-After")) if code in (429, 503) else None
        raise FetchError(
            f"http_{code}", f"HTTP {code} {response.reason}", code in RETRIED, fault, not fault, wait
        )
    body = await _body(response, max_bytes, cut)
    return Fetched(body, headers.get("ETag"), headers.get("Last-Modified"))


def opted_out(headers: Iterable[str], words: Iterable[str]) -> str | None:
    """The first of `words` that X-Robots-Tag `headers` say to every agent or to ours; None if there is none.

    A header is a list of directives, which may begin with the name of the agent that it is for.
    """
    for header in headers:
        ours = True
        for directive in header.lower().split(","):
            name, colon, rest = directive.partition(":")
            if colon and name.strip() not in _WITH_VALUES:
                ours, directive = name.strip() in (AGENT, "*"), rest
            if ours and directive.strip() in words:
                return directive.strip()
    return None


async def _body(response: ClientResponse, max_bytes: int, cut: bool) -> bytes:
    """The body without its Content-Encoding; little more than `max_bytes` of it are ever in memory."""
    body = bytearray()

    def add(pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            body.extend(piece)
            if len(body) > max_bytes:
                raise TooLarge(f"more than {max_bytes} bytes")

    try:
        decoder = Decoder(",".join(response.headers.getall("Content-Encoding", [])), max_bytes)
        if not decoder.encoded and not cut and (response.content_length or 0) > max_bytes:
            raise TooLarge(f"{response.content_length} bytes, more than {max_bytes}")
        async for chunk in response.content.iter_any():
            add(decoder.feed(chunk))
        add(decoder.end())
    except Undecodable as error:
        raise FetchError("content_encoding", str(error), answered=True) from error
    except TooLarge as error:
        if not cut:
            raise FetchError("too_large", str(error), answered=True) from error
    return bytes(body[:max_bytes])


def _retry_after_s(value: str | None) -> float | None:
    """Retry-After in seconds from now; it is a number of seconds or an HTTP date."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value, re.ASCII):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None
