"""Settings of the crawl: how polite, how patient, and what counts as a picture.

>>> CrawlConfig(**LOCAL_SERVER).allow_networks
('127.0.0.0/8',)
"""

import ipaddress
import re
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
        "",
        description="mail address or page where site owners reach you; goes into the User-Agent. "
        "Without it only allow_networks are crawled",
    )
    unmapped: bool = Field(
        False, description="crawl items too whose category is `unmapped`; they stay so in every later dataset"
    )
    obey_robots: bool = Field(True, description="skip what a host's robots.txt disallows (RFC 9309)")
    robots_max_age_s: float = Field(
        86_400.0, gt=0, description="a robots.txt is read anew after this long, seconds; RFC 9309 says a day"
    )
    max_crawl_delay_s: float = Field(
        60.0,
        ge=0,
        description="longest Crawl-delay that is kept; a host that asks for more is left out",
    )
    opt_outs: tuple[str, ...] = Field(
        ("noai", "noimageai", "noindex", "noimageindex", "none"),
        description="words in X-Robots-Tag that mean: not this picture; empty: the header is not read",
    )
    revalidate: str = Field(
        "",
        description="name of a round, e.g. a date: pictures of the version before are asked for again with "
        "ETag or Last-Modified; empty: they are taken over as they are",
    )
    max_redirects: int = Field(5, ge=0, le=20, description="hops followed; RFC 9309 asks for at least 5")
    max_bytes: int = Field(20_000_000, gt=0, description="largest body that is read, bytes")
    max_pixels: int = Field(50_000_000, gt=0, description="largest picture that is decoded, pixels")
    min_side: int = Field(16, ge=1, description="smallest side of a picture; smaller ones are spacers, px")
    max_aspect: float = Field(10.0, ge=1, description="longer side over shorter; beyond are banners, rules")
    longest_side: int = Field(512, ge=32, description="pictures are shrunk to this longest side, px")
    jpeg_quality: int = Field(92, ge=50, le=100, description="of pictures that must be encoded anew")

    near_duplicates: bool = Field(
        True, description="also mark pictures that are the same but for size, encoding, a crop or a mark"
    )

    max_rate_per_host: float = Field(10.0, ge=0, description="requests per second to one host; 0: no limit")
    max_connections_per_host: int = Field(8, ge=1, description="simultaneous requests to one host")
    max_connections: int = Field(64, ge=1, description="simultaneous requests in all")
    connect_timeout_s: float = Field(5.0, gt=0, description="for name, TCP and TLS together, seconds")
    read_timeout_s: float = Field(10.0, gt=0, description="between two pieces of a body, seconds")
    total_timeout_s: float = Field(30.0, gt=0, description="for one request, seconds")
    attempts: int = Field(3, ge=1, description="tries for connection errors, time-outs, 429 and 5xx")
    backoff_s: float = Field(0.5, ge=0, description="wait before the second try, doubled after, plus jitter")
    max_wait_s: float = Field(
        30.0,
        ge=0,
        description="longest wait between tries; a longer Retry-After counts as down",
    )
    breaker_failures: int = Field(
        10,
        ge=1,
        description="requests failing in a row before a host is left alone for breaker_pause_s",
    )
    breaker_pause_s: float = Field(
        30.0, ge=0, description="then one request tries the host; the third such failure means it is down"
    )

    max_failure_rate: float = Field(0.2, ge=0, le=1, description="share of failed items that is put up with")
    num_workers: int = Field(1, ge=1, description="crawling processes; a host belongs to one at a time")
    decode_threads: int = Field(2, ge=1, description="threads a process decodes with")
    batch_size: int = Field(128, ge=1, description="rows in one part, and most that a killed worker loses")

    @field_validator("allow_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError says what is wrong
        return networks

    @field_validator("contact")
    @classmethod
    def _can_be_reached(cls, contact: str) -> str:
        if contact and not re.fullmatch(r"https?://[!-~]+|[!-~]+@[!-~]+", contact):
            raise ValueError("should be a mail address or an http(s) page")
        return contact

    def for_key(self) -> dict[str, Any]:
        """The settings that change what comes out; pace, patience and threads do not."""
        names = {
            "allow_networks", "unmapped", "obey_robots", "opt_outs", "max_redirects", "revalidate",
            "max_bytes", "max_pixels", "min_side", "max_aspect", "longest_side", "jpeg_quality",
            "near_duplicates",
        }  # fmt: skip
        return self.model_dump(mode="json", include=names)
