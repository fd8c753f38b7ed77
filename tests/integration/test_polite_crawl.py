"""Limits per host, measured at the server, while several workers crawl hosts of skewed sizes."""

import random
from pathlib import Path

import pytest

from benchmarks import killed_crawls
from benchmarks.polite_hosts import excess, measure, zipf
from facap.crawl.config import CrawlConfig
from facap.schemas import OK
from facap.store import Store


def test_the_measure_sees_what_is_too_much() -> None:
    even = [(n / 8, n / 8, n / 8 + 0.1) for n in range(40)]
    assert excess(even, rate=8, connections=1) == (0, 8, 1)
    assert excess(even, rate=7, connections=1)[0] == 40 - 7
    assert excess(even, rate=0.125, connections=1)[:2] == (39, 40)
    overlapping = [(n * 1.0, n * 1.0, n * 1.0 + 2.5) for n in range(5)]
    assert excess(overlapping, rate=1, connections=2) == (3, 1, 3)


def test_what_the_server_saw_late_is_not_held_against_the_crawl() -> None:
    seen_late = [(0.0, 0.2, 0.21), *((n / 8, n / 8, n / 8 + 0.1) for n in range(1, 10))]
    assert excess(seen_late, rate=8, connections=2)[0] == 0
    sent_late = [(0.2, 0.2, 0.21), *seen_late[1:]]
    assert excess(sent_late, rate=8, connections=2)[0] == 2


@pytest.mark.slow
@pytest.mark.alone
def test_no_limit_is_exceeded_and_no_time_wasted(tmp_path: Path, ray_session: None) -> None:
    config = CrawlConfig(
        allow_networks=("127.0.0.0/8",), max_rate_per_host=10, max_connections_per_host=2, num_workers=2
    )
    figures = measure(Store(str(tmp_path)), zipf(20, 75), config)
    print(figures)
    assert figures["violations"] == 0, figures
    assert figures["time_ratio"] <= 1.6, figures  # 1.3 is asked of the benchmark, on a quiet machine


@pytest.mark.slow
def test_a_crawl_whose_worker_is_killed_ends_as_an_undisturbed_one(tmp_path: Path, ray_session: None) -> None:
    """Of drivers the end-to-end test kills one; `make bench NAME=crawl` kills three of each."""
    seed = random.randrange(10**6)
    results = killed_crawls.measure(tmp_path, ["worker"], seed)
    total = sum(killed_crawls.SIZES)
    for result in results:
        assert result["equal"] and 0 < result["done"] < result["rows"] == total, (seed, results)
    rows = Store(str(tmp_path / "peace")).read("images").to_pylist()
    missing = [row for row in rows if "/missing/" in row["url"]]
    moved = [row for row in rows if "/moved/" in row["url"]]
    assert {row["status"] for row in missing} == {"http_404"} and len(missing) == total // 10
    assert {row["status"] for row in moved} == {OK}
    assert len({row["image_id"] for row in moved}) == len(killed_crawls.SIZES)  # one picture for each host
