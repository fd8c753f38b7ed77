"""The demo catalogue rendered, served and crawled for real, faults, failures and kills included."""

import http.server
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

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


class _Refuses(http.server.BaseHTTPRequestHandler):
    """Forbids every picture, 50 ms each."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        _Refuses.asked[self.path] += 1
        time.sleep(0.05)
        self.send_response(404 if self.path == "/robots.txt" else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_a_shop_that_refuses_everything_is_left_alone_once_that_is_certain(tmp_path: Path) -> None:
    number = 3000
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store = Store(str(tmp_path / "w"))
    table = tmp_path / "shop.csv"
    lines = [f"p{n},dress,http://127.0.0.1:{server.server_port}/{n}.jpg" for n in range(number)]
    table.write_text("\n".join(["product_id,category,url", *lines]) + "\n")
    catalog.run(store, CatalogConfig(manifest=str(table)), quiet("catalog"))
    limits = {"max_failure_rate": 0.05, "batch_size": 16, "max_connections_per_host": 8}
    try:
        with pytest.raises(StageFailed) as error:
            run_crawl(store, **limits)
        asked = _Refuses.asked.total()
        assert number * 0.05 < asked < number
        text = str(error.value)
        assert f"of {number} rows failed" in text and "http_403" in text
        assert "Likely cause: the site refuses" in text and "so the stage ended after" in text
        (folder,) = Path(store.path("images")).glob("data-*")
        rows = sum(pq.ParquetFile(part).metadata.num_rows for part in folder.glob("*.parquet"))
        assert rows >= asked - 1  # whatever was asked for is written, robots.txt aside
        assert not list(folder.glob("stop-*"))
        with pytest.raises(StageFailed, match="http_403"):  # and is asked for again by the next run
            run_crawl(store, **limits)
        assert max(_Refuses.asked.values()) >= 2
    finally:
        server.shutdown()
        server.server_close()
