"""What can come of one request: a body, the same picture as before, another address, or a reason why not.

docs/crawl.md lists every `status` with its meaning; a test holds the two together.
"""

from dataclasses import dataclass, field

from facap.quoting import without_secrets


class FetchError(Exception):
    """A URL that could not be had; `status` is the reason.

    `retry`: another try may help, after `retry_after_s` if the server said so. `host_fault`: the host
    failed, not the URL. `answered`: the host answered all the same, so it is alive. The message names
    addresses by host and path: it gets into logs.
    """

    def __init__(
        self,
        status: str,
        message: str,
        retry: bool = False,
        host_fault: bool = False,
        answered: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(without_secrets(message))
        self.status, self.retry, self.host_fault = status, retry, host_fault
        self.answered, self.retry_after_s = answered, retry_after_s

    @property
    def passing(self) -> bool:
        """Whether it says nothing of the picture itself, which may well be there tomorrow."""
        return self.retry or self.host_fault or self.status in ("host_down", "robots_unreachable")


@dataclass(frozen=True)
class Fetched:
    """A whole body, and what a later request can be made conditional with."""

    body: bytes
    etag: str | None = None
    last_modified: str | None = None
    latency_ms: int = field(default=0, compare=False)


@dataclass(frozen=True)
class NotModified:
    """The picture is still what `etag` or `last_modified` of the condition stand for."""


@dataclass(frozen=True)
class Moved:
    """A redirect."""

    location: str


class Elsewhere(Exception):
    """A redirect to another host, `hops` redirects in all after the first address."""

    def __init__(self, url: str, hops: int) -> None:
        super().__init__(url)
        self.url, self.hops = url, hops
