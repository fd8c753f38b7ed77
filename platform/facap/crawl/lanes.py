"""Which worker crawls which host: all visits to a host make up one lane's part, and a lane is one task.

    VISITS, one row an item to crawl -> tables of VISITS, largest lane first

A task is on one worker at a time and a host in one lane, so a host's limits need no agreement between
workers. Lanes are handed out one by one to whoever is free. A large host has a lane to itself and is begun
first; small ones share lanes, filled largest first into the emptiest (a 4/3 approximation of the best
packing, Graham 1969). So what limits a crawl is its slowest host, not the way hosts were dealt out.
"""

import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa

from facap.crawl.address import BadUrl
from facap.crawl.safety import host_name, parse_url

LANES_AT_A_TIME = 16  # in one worker
ORIGIN = re.compile(r"[^/?#]*//[^/?#]*")  # a URL up to its path: the same for many, so that it is parsed once
ORIGINS_KEPT = 4096
ROUNDS = 4  # lanes a worker gets one after the other when hosts are many: the finer, the more even the end

VISITS = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("product_id", pa.string()),
        pa.field("category", pa.string()),
        pa.field("url", pa.string()),
        pa.field("at", pa.string()),  # where `url` led to so far
        pa.field("hops", pa.int8()),  # redirects to get there
        pa.field("host", pa.string()),  # of `at`, once lanes() has said it
        pa.field("part", pa.string()),  # of the version before that holds the picture, if it is known
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
    ]
)


def host_of(url: str) -> str:
    """The host that `url` is asked of; "" if it is no address."""
    found = ORIGIN.match(url.strip())
    return _host(found.group() + "/") if found else ""


@lru_cache(ORIGINS_KEPT)
def _host(origin: str) -> str:
    try:
        return host_name(parse_url(origin))
    except BadUrl:
        return ""


def packed(sizes: Mapping[str, int], num_lanes: int) -> list[list[str]]:
    """The hosts of each lane, largest first both ways; equal input gives equal lanes.

    >>> packed({"a": 6, "b": 3, "c": 2, "d": 1}, 2)
    [['a'], ['b', 'c', 'd']]
    """
    lanes: list[list[str]] = [[] for _ in range(min(num_lanes, len(sizes)))]
    loads = [(0, number) for number in range(len(lanes))]
    for host in sorted(sizes, key=lambda host: (-sizes[host], host)):
        load, number = heapq.heappop(loads)
        lanes[number].append(host)
        heapq.heappush(loads, (load + sizes[host], number))
    return sorted(lanes, key=lambda lane: -sum(sizes[host] for host in lane))


def lanes(visits: pa.Table, num_workers: int) -> list[pa.Table]:
    """`visits` as one table a lane; in each the rows of a host are together, in the order of `part`, item."""
    hosts = [host_of(url) for url in visits.column("at").to_pylist()]
    groups = packed(Counter(hosts), num_workers * LANES_AT_A_TIME * ROUNDS)
    rank = {host: place for place, host in enumerate(host for group in groups for host in group)}
    lane_of = {host: number for number, group in enumerate(groups) for host in group}
    place = VISITS.get_field_index("host")
    visits = visits.set_column(place, VISITS.field(place), pa.array(hosts, pa.string()))
    order = pa.table(
        {
            "rank": pa.array([rank[host] for host in hosts], pa.int32()),
            "part": visits.column("part"),
            "item_id": visits.column("item_id"),
            "row": pa.array(np.arange(visits.num_rows)),
        }
    ).sort_by([("rank", "ascending"), ("part", "ascending"), ("item_id", "ascending")])
    ordered = visits.take(order.column("row"))
    numbers = np.sort(np.array([lane_of[host] for host in hosts], np.int32))
    edges = [*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(numbers)]
    return [ordered.slice(start, end - start).combine_chunks() for start, end in itertools.pairwise(edges)]


def hosts_of(lane: pa.Table) -> Iterator[pa.Table]:
    """The rows of each host of a lane, in the lane's order."""
    codes = lane.column("host").combine_chunks().dictionary_encode().indices.to_numpy()
    edges = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
    for start, end in itertools.pairwise(edges):
        yield lane.slice(start, end - start)
