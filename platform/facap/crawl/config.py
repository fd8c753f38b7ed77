"""Settings of the crawl: how polite, how patient, and what counts as a picture.

>>> CrawlConfig(**LOCAL_SERVER).allow_networks
('127.0.0.0/8',)
"""

import ipaddress
from typing import Any

from pydantic import Field, field_validator

from facap.config import StageConfig

LOCAL_SERVER: dict[str, Any] = {
    "allow_networks": ("127.0.0.0/8",),
    "max_rate_per_host": 0.0,
    "max_connections_per_host": 32,
}
"""What to set for a server of one's own on this machine: the demo catalogue's, or a test's."""


class CrawlConfig(StageConfig):
    """ITEMS -> IMAGES."""

    allow_networks: tuple[str, ...] = Field(
        (), description="networks (CIDR) that may be crawled though they are not public, e.g. 127.0.0.0/8"
    )
    contact: str = Field(
        "", description="address or page for site owners; goes into the User-Agent of every request"
    )
    obey_robots: bool = Field(True, description="skip what a host's robots.txt disallows (RFC 9309)")
    max_redirects: int = Field(5, ge=0, le=20, description="hops followed; RFC 9309 asks for at least 5")
    max_bytes: int = Field(20_000_000, gt=0, description="largest body that is read, bytes")
    max_pixels: int = Field(50_000_000, gt=0, description="largest picture that is decoded, pixels")
    longest_side: int = Field(512, ge=32, description="pictures are shrunk to this longest side, px")
    jpeg_quality: int = Field(92, ge=50, le=100, description="of pictures that must be encoded anew")

    max_rate_per_host: float = Field(10.0, ge=0, description="requests per second to one host; 0: no limit")
    max_connections_per_host: int = Field(8, ge=1, description="simultaneous requests to one host")
    max_connections: int = Field(64, ge=1, description="simultaneous requests in all")
    connect_timeout_s: float = Field(5.0, gt=0, description="to reach a server, seconds")
    read_timeout_s: float = Field(10.0, gt=0, description="between two pieces of a body, seconds")
    total_timeout_s: float = Field(30.0, gt=0, description="for one request, seconds")
    attempts: int = Field(3, ge=1, description="tries for connection errors, time-outs, 429 and 5xx")
    backoff_s: float = Field(0.5, ge=0, description="wait before the second try, doubled after, plus jitter")
    max_wait_s: float = Field(
        30.0, ge=0, description="longest wait between tries; a longer Retry-After fails"
    )

    max_failure_rate: float = Field(0.2, ge=0, le=1, description="share of failed items that is put up with")
    num_workers: int = Field(1, ge=1, description="crawling processes; they share the limits above")
    decode_threads: int = Field(2, ge=1, description="threads a process decodes with")
    batch_size: int = Field(128, ge=1, description="items in one task, and least rows in one part")

    @field_validator("allow_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError says what is wrong
        return networks

    def for_key(self) -> dict[str, Any]:
        """The settings that change what comes out; pace, patience and threads do not."""
        names = {
            "allow_networks", "obey_robots", "max_redirects", "max_bytes", "max_pixels",
            "longest_side", "jpeg_quality",
        }  # fmt: skip
        return self.model_dump(mode="json", include=names)
