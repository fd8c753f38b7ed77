"""The report says what the rows say, shows what cannot be trusted as text only, and stays small."""

import base64
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from facap.crawl import report
from facap.crawl.decode import Limits, normalise
from facap.crawl.dedupe import mark_duplicates
from facap.crawl.figures import COLUMNS, MOST_HOSTS, summarise
from facap.schemas import IMAGES, from_rows
from facap.store import Stage, Store

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def encoded(seed: int, width: int = 150) -> bytes:
    blobs = np.random.default_rng(seed).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blobs).resize((width, 200), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def row(number: int, status: str = "ok", seed: int | None = None, **more: object) -> dict:
    good = {}
    if status == "ok":
        body = encoded(number if seed is None else seed)
        good = {**vars(normalise(body, Limits())), "body_bytes": len(body), "latency_ms": 10 + number}
    return {
        "item_id": f"{number:04}", "product_id": "p", "category": "top", "status": status,
        "url": f"http://host{number % 3}.example/{number}.jpg", "fetched_at": datetime.now(UTC),
        "error": None if status == "ok" else f"why {number}", **good, **more,
    }  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Nine good rows, of which one is an equal and one a smaller copy; two kinds of failure; one vanished."""
    store = Store(str(tmp_path))
    made = store.stage("images", IMAGES, "k")
    rows = [row(number) for number in range(7)] + [row(7, seed=0)]
    small = Image.open(io.BytesIO(encoded(1))).resize((90, 120))
    out = io.BytesIO()
    small.save(out, "JPEG")
    rows.append(row(8) | vars(normalise(out.getvalue(), Limits())))
    rows += [row(9, "http_404"), row(10, "http_404"), row(11, "corrupt", url=HOSTILE, error=HOSTILE)]
    rows.append(row(12, "vanished"))
    made.write(from_rows(rows, IMAGES))
    assert mark_duplicates(made) == 2
    made.commit({"longest_side": 512}, {"items": "x"})
    return made


def test_figures_by_hand() -> None:
    def line(item: str, status: str, url: str, **more: object) -> dict:
        return {**dict.fromkeys(COLUMNS), "item_id": item, "status": status, "url": url, **more}

    good = {"format": "jpeg", "width": 100, "height": 300}
    copy = {**good, "duplicate_of": "a"}
    rows = [
        line("a", "ok", "http://a.example/1", image_id="x", latency_ms=10, body_bytes=1000, **good),
        line("b", "ok", "http://a.example/2", image_id="x", latency_ms=12, body_bytes=1030, **copy),
        line("c", "ok", "http://a.example/3", image_id="z", latency_ms=40, body_bytes=90, **copy),
        line("d", "http_404", "http://a.example/4"),
        line("e", "bad_url", "nonsense"),
        line("f", "vanished", "http://a.example/6"),
    ]  # fmt: skip
    schema = pa.schema([IMAGES.field(name) for name in COLUMNS])
    figures = summarise(pa.Table.from_pylist(rows, schema), seconds=2.0)
    assert figures["counts"] == {"ok": 3, "http_404": 1, "bad_url": 1}
    assert (figures["items"], figures["kept"], figures["failed"], figures["vanished"]) == (5, 1, 2, 1)
    assert (figures["exact_duplicates"], figures["near_duplicates"]) == (1, 1)
    assert figures["images_per_s"] == 2.5 and figures["formats"] == {"jpeg": 3}
    assert figures["latency_ms"]["p50"] == 12 and figures["latency_ms"]["total"] == 62
    assert figures["latency_ms"]["histogram"] == [
        {"from": 8, "values": 2}, {"from": 16, "values": 0}, {"from": 32, "values": 1}
    ]  # fmt: skip
    assert [h["host"] for h in figures["hosts"]] == ["a.example", "(no address)"]
    assert figures["hosts"][0] == {
        "host": "a.example", "items": 4, "ok": 3, "share_ok": 0.75, "commonest_failure": "http_404"
    }  # fmt: skip


def test_many_hosts_are_one_line_at_the_end() -> None:
    rows = [
        {**dict.fromkeys(COLUMNS), "item_id": str(n), "status": "dns", "url": f"http://h{n}.example/"}
        for n in range(MOST_HOSTS + 5)
    ]
    schema = pa.schema([IMAGES.field(name) for name in COLUMNS])
    figures = summarise(pa.Table.from_pylist(rows, schema), seconds=0.0)
    assert len(figures["hosts"]) == MOST_HOSTS + 1
    assert figures["hosts"][-1]["host"] == "5 other hosts" and figures["hosts"][-1]["items"] == 5
    assert figures["images_per_s"] is None and figures["latency_ms"]["values"] == 0


def page_of(stage: Stage) -> str:
    rows = stage.read([*COLUMNS, "error"])
    figures = {"fingerprint": "f", "created_at": "now", **summarise(rows, 3.0)}
    return report.render(stage, rows, figures)


def test_what_is_untrusted_is_shown_as_text_only(stage: Stage) -> None:
    page = page_of(stage)
    assert "<script" not in page and "onerror" in page and "&lt;img src=x onerror" in page
    assert not re.search(r"<img (?!src=\"data:image/jpeg;base64,)", page)
    assert "<a " not in page and "default-src 'none'" in page


def test_the_page_shows_pictures_pairs_and_reasons(stage: Stage) -> None:
    page = page_of(stage)
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) == 7 + 2 * 2
    for data in pictures:
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == report.THUMB_PX
    assert page.index("kept 0001, not 0008") < page.index("equal bytes")
    assert page.count(">http_404</span>") == 4 and "why 9" in page  # two rows, two hosts


def test_the_page_stays_small(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(100 + n, "corrupt", url="http://x.example/" + "y" * 5000, error="z" * 5000) for n in range(500)
    ]
    rows += [row(1000 + n) for n in range(120)]
    stage.write(from_rows(rows, IMAGES))
    assert len(page_of(stage)) < 1_000_000


def test_a_report_is_made_once_a_version_and_is_an_mlflow_run(stage: Stage) -> None:
    from mlflow import MlflowClient

    store = stage.store
    figures = report.publish(store, "")
    written = Path(store.path("reports", "crawl.html"))
    assert written.read_text().startswith("<!doctype html>") and figures["kept"] == 7
    moment = written.stat().st_mtime_ns
    assert report.publish(store, "") == figures and written.stat().st_mtime_ns == moment
    client = MlflowClient(f"sqlite:///{store.path('mlflow.db')}")
    (run,) = client.search_runs([client.get_experiment_by_name("facap").experiment_id])  # type: ignore[union-attr]
    assert run.info.run_name == "crawl" and run.info.status == "FINISHED"
    assert run.data.metrics["kept"] == 7 and run.data.metrics["status/http_404"] == 2
    assert run.data.params["longest_side"] == "512"
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"crawl.html", "crawl.json"}
