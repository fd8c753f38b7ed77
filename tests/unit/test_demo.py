"""The demo catalogue's plan and server, without rendering: faults, identity, ports."""

import csv
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facap.catalog.config import CatalogConfig
from facap.catalog.demo import FAULTS, _write_manifest, _write_truth, addresses
from facap.catalog.demo_server import PAGE, serve_demo
from facap.catalog.garments import ATTRIBUTES, sample_catalogue
from facap.errors import ResourceError
from tests.ports import free_ports
from tests.processes import PATIENCE_S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A demo folder whose pictures are other bytes: 20 products in 2 views."""
    lines, garments = addresses(20, 2, seed=0), sample_catalogue(20, seed=0)
    _write_truth(tmp_path / "truth.parquet", lines, garments, port=9000)
    _write_manifest(tmp_path / "manifest.csv", lines, garments, port=9000)
    (tmp_path / "images").mkdir()
    for line in lines:
        (tmp_path / line.file).write_bytes(line.file.encode() * 100)
    return tmp_path


def get(url: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, "", b""


def test_the_defaults_leave_enough_good_pictures() -> None:
    config = CatalogConfig()
    lines = addresses(config.num_products, config.views, config.seed)
    good = [line for line in lines if line.fault in (None, "slow")]
    assert len(good) >= 4000 and len({line.product_id for line in good}) >= 2000
    counts = Counter(line.fault for line in lines if line.fault)
    assert counts == {fault: round(share * 4000) for fault, share in FAULTS.items()}
    assert len({line.path for line in lines}) == len(lines)


def test_the_plan_follows_from_the_seed() -> None:
    assert addresses(50, 2, 1) == addresses(50, 2, 1) != addresses(50, 2, 2)
    assert {line.fault for line in addresses(20, 2, 0)} == {None, *FAULTS}


def test_the_manifest_says_nothing_of_the_garments(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    assert set(rows[0]) == {"product_id", "category", "url", "title"}
    words = {w for values in list(ATTRIBUTES.values())[1:] for value in values for w in value.split("-")}
    assert not [r for r in rows if words & set(f"{r['title']} {r['url']}".lower().replace("/", " ").split())]
    truth = pq.read_table(folder / "truth.parquet").to_pylist()
    assert [r["url"] for r in rows] == [r["url"] for r in truth]
    assert all(set(dict(r["attributes"])) == set(ATTRIBUTES) for r in truth)


def test_every_fault_is_played(folder: Path) -> None:
    truth = pq.read_table(folder / "truth.parquet").to_pylist()
    with serve_demo(str(folder), free_ports(1)[0], slow_s=0.01) as base:
        assert b"Allow: /" in get(f"{base}/robots.txt")[2]
        assert get(f"{base}/images/../truth.parquet")[0] == 404
        for row in truth:
            code, kind, body = get(base + row["path"])
            picture = (folder / row["file"]).read_bytes()
            wanted = {
                "dead": (404, "", b""),
                "not_an_image": (200, "image/jpeg", PAGE),
                "truncated": (200, "image/jpeg", picture[: int(len(picture) * 0.6)]),
            }.get(row["fault"], (200, "image/jpeg", picture))
            assert (code, kind, body) == wanted, row


def test_one_server_a_folder_and_a_clear_word_about_a_taken_port(folder: Path, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with serve_demo(str(folder), port) as first, serve_demo(str(folder), port) as second:
        assert first == second == f"http://127.0.0.1:{port}"
        other = tmp_path / "other"
        other.mkdir()
        (other / "truth.parquet").write_bytes((folder / "truth.parquet").read_bytes())
        with (
            pytest.raises(ResourceError, match=rf"127.0.0.1:{port} .*set catalog.port to a free one"),
            serve_demo(str(other), port),
        ):
            pass
    with serve_demo(str(folder), port) as again:  # the port is free at once
        assert get(f"{again}/robots.txt")[0] == 200
