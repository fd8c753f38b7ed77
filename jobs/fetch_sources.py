"""The crawl's polite and safe fetcher for what the catalogue is read from: feeds, sitemaps, product pages.

A stage knows no other stage, so the catalogue takes this as an argument. One process fetches: the limits of
each host are what binds here, not this machine.
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator

from facap.catalog.documents import PAGE, SOURCE, Fetch, Fetched
from facap.crawl.config import CrawlConfig
from facap.crawl.fetch import Fetcher
from facap.crawl.outcome import FetchError

MEMORY_BYTES = 512 * 2**20  # for bodies in flight, if each is as large as it may be
SOURCE_TIMEOUT_S = 1800.0  # for all of a feed
LISTING_WORDS = ("noindex", "noimageindex", "none")
"""Of X-Robots-Tag: customary on sitemaps and feeds themselves, where they say nothing of what is listed."""


def source_fetch(config: CrawlConfig) -> Fetch:
    """Gets addresses, in order, as `config` allows; failures come as reasons, nothing is raised."""

    def fetch(addresses: Iterable[str], max_bytes: int, kind: str) -> Iterator[Fetched]:
        assert kind in (PAGE, SOURCE)
        changes: dict[str, object] = {"max_bytes": max_bytes}
        if kind == SOURCE:
            changes["opt_outs"] = tuple(word for word in config.opt_outs if word not in LISTING_WORDS)
            changes["total_timeout_s"] = max(config.total_timeout_s, SOURCE_TIMEOUT_S)
        at_once = max(1, min(config.max_connections, MEMORY_BYTES // max_bytes))
        rest = iter(addresses)
        with asyncio.Runner() as runner:
            fetcher = runner.run(_opened(config.model_copy(update=changes)))
            try:
                while batch := list(itertools.islice(rest, at_once)):
                    yield from runner.run(_all(fetcher, batch))
            finally:
                runner.run(fetcher.__aexit__(None, None, None))

    return fetch


async def _opened(config: CrawlConfig) -> Fetcher:
    return await Fetcher(config).__aenter__()


async def _all(fetcher: Fetcher, addresses: list[str]) -> list[Fetched]:
    return await asyncio.gather(*(_one(fetcher, address) for address in addresses))


async def _one(fetcher: Fetcher, address: str) -> Fetched:
    try:
        async with fetcher.fetch(address) as answer:
            return Fetched(address, answer.body)  # type: ignore[union-attr]  # nothing conditional was asked
    except FetchError as error:
        return Fetched(address, None, error.status, str(error))
