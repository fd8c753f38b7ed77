"""The demo catalogue rendered, served and crawled for real, faults, failures and kills included."""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facap.catalog import demo
from facap.catalog import pipeline as catalog
from facap.catalog.config import CatalogConfig
from facap.catalog.demo_server import serve_demo
from facap.crawl import pipeline as crawl
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.errors import ConfigError, StageFailed
from facap.progress import Progress, StageReport
from facap.schemas import OK
from facap.store import Store
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

STATUS_OF = {"dead": "http_404", "not_an_image": "not_an_image", "truncated": "truncated"}  # others: ok


def quiet(stage: str) -> Progress:
    return Progress(stage, io.StringIO())


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> Iterator[tuple[Store, CatalogConfig]]:
    """A workspace with ITEMS of 40 demo products whose server is running."""
    store = Store(str(tmp_path_factory.mktemp("shop")))
    config = CatalogConfig(num_products=40, port=free_ports(1)[0])
    report = catalog.run(store, config, quiet("catalog"))
    assert report.rows_in == report.rows_out == 84 and not report.failures
    with serve_demo(store.folder("demo"), config.port, slow_s=0.5):
        yield store, config


def run_crawl(store: Store, **settings: object) -> StageReport:
    return crawl.run(store, CrawlConfig(**{**LOCAL_SERVER, "backoff_s": 0.01, **settings}), quiet("crawl"))


def test_every_planned_fault_has_its_status(shop: tuple[Store, CatalogConfig]) -> None:
    store, _ = shop
    report = run_crawl(store)
    folder = Path(store.folder("demo"))
    truth = {row["url"]: row for row in pq.read_table(folder / "truth.parquet").to_pylist()}
    rows = store.read("images").to_pylist()
    assert sorted(r["url"] for r in rows) == sorted(truth)
    for row in rows:
        planned = truth[row["url"]]
        assert row["status"] == STATUS_OF.get(planned["fault"], OK), row["error"]
        if row["status"] == OK:
            assert row["bytes"] == (folder / planned["file"]).read_bytes()  # nothing lost
            assert row["etag"] and len(row["phash"]) == 128 and (row["width"], row["height"]) == (256, 320)
        else:
            assert row["error"] and row["bytes"] is None
    files = {r["item_id"]: truth[r["url"]]["file"] for r in rows}
    doubles = {r["item_id"]: r["duplicate_of"] for r in rows if r["duplicate_of"]}
    assert len(doubles) == 1
    for item, first in doubles.items():
        assert first < item and files[first] == files[item]
    planned_faults = Counter(row["fault"] for row in truth.values())
    assert report.failures == {STATUS_OF[f]: planned_faults[f] for f in STATUS_OF}
    assert (report.rows_in, report.rows_out, report.note) == (84, 80, "1 duplicate")


def test_a_second_run_does_nothing(shop: tuple[Store, CatalogConfig]) -> None:
    store, config = shop
    first, created = run_crawl(store), store.require("images").created_at
    before = written(store)
    again = run_crawl(store, attempts=9)  # patience does not change the result
    assert again.reused and again.rows_out == first.rows_out
    items = catalog.run(store, config, quiet("catalog"))
    assert items.reused and again.seconds == items.seconds == 0  # by their stages' own clocks: nothing ran
    assert written(store) == before and store.require("images").created_at == created


def written(store: Store) -> dict[str, int]:
    """When each file of the workspace was written."""
    return {str(p): p.stat().st_mtime_ns for p in Path(store.root).rglob("*") if p.is_file()}


def test_slow_is_a_timeout_for_the_impatient_and_the_limit_is_kept(
    shop: tuple[Store, CatalogConfig], tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    items = shop[0].read("items")
    target = store.stage("items", items.schema, "copy")
    target.write(items)
    target.commit({}, {})
    hasty = {"read_timeout_s": 0.1, "attempts": 1, "longest_side": 64}
    with pytest.raises(StageFailed, match=r"crawl: \d+ of 84 rows failed .* max_failure_rate"):
        run_crawl(store, max_failure_rate=0.01, **hasty)
    assert store.manifest("images") is None
    report = run_crawl(store, **hasty)  # what succeeded is kept, the rest is tried again
    assert report.failures["timeout"] >= 1
    widths = {r["width"] for r in store.read("images", ["width", "status"]).to_pylist() if r["status"] == OK}
    assert widths == {51}


def test_nothing_crawled_is_one_clear_sentence(shop: tuple[Store, CatalogConfig]) -> None:
    store, _ = shop
    with pytest.raises(
        StageFailed, match=r"none of the 84 items could be crawled \(84 blocked_address; e.g."
    ):
        run_crawl(store, allow_networks=(), max_failure_rate=1.0, contact="https://a.example/bot")
    with pytest.raises(ConfigError, match=r"crawl.contact is empty, but 127.0.0.1 may be anyone's"):
        run_crawl(store, allow_networks=())


def test_rendering_goes_on_where_it_stopped(shop: tuple[Store, CatalogConfig], tmp_path: Path) -> None:
    config = CatalogConfig(num_products=3)
    store = Store(str(tmp_path))
    folder = Path(demo.build(store, config, quiet("catalog")))
    first = {p.name: p.read_bytes() for p in folder.rglob("*.*")}
    assert set(first) == {"manifest.csv", "truth.parquet"} | {
        f"P0000{n}-{v}.jpg" for n in range(3) for v in (1, 2)
    }
    (tmp_path / "demo" / "manifest.json").unlink()
    (folder / "images" / "P00001-2.jpg").unlink()
    assert demo.build(store, config, quiet("catalog")) == str(folder)
    assert {p.name: p.read_bytes() for p in folder.rglob("*.*")} == first
