"""Hosts dealt out over lanes: whole hosts, none lost, as even as can be."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.crawl.lanes import LANES_AT_A_TIME, ROUNDS, VISITS, host_of, hosts_of, lanes, packed
from facap.crawl.safety import BadUrl, host_name, parse_url


def visits(hosts: list[str]) -> pa.Table:
    rows = [
        {"item_id": f"{n:05}", "product_id": "p", "category": "dress", "url": "u", "hops": 0}
        | {"at": f"http://{host}:8{n % 10}/{n}"}
        for n, host in enumerate(hosts)
    ]
    return pa.Table.from_pylist(rows, schema=VISITS)


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 1000)), st.integers(1, 9))
def test_packing_loses_nothing_and_is_even(sizes: dict[str, int], lanes: int) -> None:
    found = packed(sizes, lanes)
    assert sorted(host for lane in found for host in lane) == sorted(sizes)
    loads = [sum(sizes[host] for host in lane) for lane in found]
    assert loads == sorted(loads, reverse=True) and all(loads)
    if sizes:
        mean, largest = sum(sizes.values()) / lanes, max(sizes.values())
        assert loads[0] <= mean + (1 - 1 / lanes) * largest + 1e-9  # Graham's bound for any order
        if len(sizes) <= lanes:
            assert loads == sorted(sizes.values(), reverse=True)  # each has one of its own


def test_all_visits_to_a_host_are_in_one_lane_and_together() -> None:
    hosts = [f"h{n * n % 97}.example" for n in range(500)] + ["big.example"] * 300
    table = visits(hosts)
    found = lanes(table, num_workers=1)
    assert len(found) == len(set(hosts)) <= LANES_AT_A_TIME * ROUNDS
    assert [lane.num_rows for lane in found] == sorted((lane.num_rows for lane in found), reverse=True)
    assert found[0].num_rows == 300
    merged = pa.concat_tables(found).sort_by("item_id")
    assert merged.column("host").to_pylist() == hosts
    assert merged.drop_columns("host").equals(table.drop_columns("host"))


def test_many_small_hosts_share_lanes() -> None:
    hosts = [f"h{n % 1000}.example" for n in range(5000)] + ["big.example"] * 2000
    found = lanes(visits(hosts), num_workers=2)
    assert len(found) == 2 * LANES_AT_A_TIME * ROUNDS
    seen: list[str] = []
    for lane in found:
        for rows in hosts_of(lane):
            names = {host_of(url) for url in rows.column("at").to_pylist()}
            assert len(names) == 1
            seen += names
            ids = rows.column("item_id").to_pylist()
            assert ids == sorted(ids)
    assert sorted(seen) == sorted(set(hosts)) and seen[0] == "big.example"
    assert found[1].num_rows - found[-1].num_rows <= 5  # one small host


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://A.example./x", "a.example"),
        ("https://a.example:8443/x", "a.example"),
        ("http://[2001:DB8::1]/", "2001:db8::1"),
        ("ftp://a.example/", ""),
        ("nonsense", ""),
    ],
)
def test_a_host_is_its_name_whatever_the_port_and_scheme(url: str, host: str) -> None:
    assert host_of(url) == host


@given(st.text(alphabet="ahtp:/?#@.[]1\\\t ", max_size=20).map("http://".__add__) | st.text(max_size=20))
def test_a_host_is_the_one_that_is_asked(url: str) -> None:
    """It is read from the start of an address only; that must not make it another one."""
    try:
        asked = host_name(parse_url(url))
    except BadUrl:
        return
    assert host_of(url) == asked


def test_no_visits_no_lanes() -> None:
    assert lanes(visits([]), 2) == []
