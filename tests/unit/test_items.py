"""Manifests to ITEMS: formats, what becomes of every unusable line, and errors that say what to do."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog import pipeline
from facap.catalog.config import CatalogConfig
from facap.catalog.items import REQUIRED, Items, item_id, read_lines
from facap.errors import ConfigError, ContractError, FacapError, StageFailed
from facap.progress import Progress
from facap.schemas import ITEMS
from facap.store import Store

GOOD = {"product_id": "p1", "category": "dress", "url": "https://a.example/1.jpg", "title": "A", "brand": "X"}


def _write(path: Path, rows: list[dict]) -> str:
    if path.suffix == ".csv":
        lines = [",".join(rows[0])] + [",".join(str(v) for v in row.values()) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def _run(tmp_path: Path, manifest: str):
    store = Store(str(tmp_path / "workspace"))
    return store, pipeline.run(store, CatalogConfig(manifest=manifest), Progress("catalog", io.StringIO()))


@pytest.mark.parametrize("name", ["feed.csv", "feed.jsonl", "feed.parquet"])
def test_every_format_gives_the_same_items(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, [GOOD, {**GOOD, "product_id": "p2", "category": "Top"}])
    store, report = _run(tmp_path, path)
    rows = store.read("items").to_pylist()
    assert [r["item_id"] for r in rows] == [item_id("p1", GOOD["url"]), item_id("p2", GOOD["url"])]
    assert rows[1]["category"] == "top" and rows[0]["title"] == "A"
    assert rows[0]["attributes"] == [("brand", "X")]
    assert rows[0]["source"] == path
    assert (report.rows_in, report.rows_out, report.failures) == (2, 2, {})


def test_a_second_run_reuses_and_a_changed_manifest_does_not(tmp_path: Path) -> None:
    path = _write(tmp_path / "feed.csv", [GOOD])
    _, first = _run(tmp_path, path)
    _, again = _run(tmp_path, path)
    assert not first.reused and again.reused
    assert (again.rows_in, again.rows_out) == (first.rows_in, first.rows_out)
    _write(Path(path), [GOOD, {**GOOD, "product_id": "p2"}])
    store, third = _run(tmp_path, path)
    assert not third.reused and store.read("items").num_rows == 2


def test_unusable_lines_are_counted_by_reason(tmp_path: Path) -> None:
    lines = [
        json.dumps(GOOD),
        json.dumps(GOOD),  # repeated
        json.dumps({**GOOD, "url": None}),
        json.dumps({**GOOD, "url": " "}),
        json.dumps({**GOOD, "product_id": ""}),
        json.dumps({**GOOD, "category": "shoes"}),
        json.dumps({**GOOD, "url": "ftp://a.example/1.jpg"}),
        json.dumps({**GOOD, "url": "http://[::1/1.jpg"}),
        json.dumps({**GOOD, "title": "\ud800"}),
        "{broken",
        "[1, 2]",
        "[" * 100_000,
    ]
    path = tmp_path / "feed.jsonl"
    path.write_text("\n".join(lines))
    store, report = _run(tmp_path, str(path))
    assert report.failures == {
        "missing_url": 2,
        "missing_product_id": 1,
        "unknown_category": 1,
        "bad_url": 2,
        "bad_text": 1,
        "malformed_line": 3,
    }
    assert report.rows_in == 12 and report.rows_out == 1 and report.note == "1 repeated"
    assert report.failed + report.rows_out + 1 == report.rows_in
    extra = store.require("items").extra
    assert extra["failures"] == report.failures and "shoes" in extra["examples"]["unknown_category"]


def test_csv_with_marks_quotes_and_ragged_lines(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(
        "\ufeffproduct_id,category,url,title\n"
        'p1,dress,https://a.example/1.jpg,"Long, ""red"""\n'
        "\n"
        "p2,dress,https://a.example/2.jpg\n"
        "p3,dress,https://a.example/3.jpg,a,too,many\n"
    )
    rows = list(read_lines(str(path)))
    assert rows[0] is not None and rows[0]["title"] == 'Long, "red"'
    assert rows[1] is not None and rows[1]["title"] is None
    assert rows[2] is None and len(rows) == 3


@pytest.mark.parametrize("value", [{"fit": "loose"}, [["fit", "loose"]]])
def test_an_attributes_column_may_hold_a_mapping(value: object) -> None:
    table = Items("feed").table([{**GOOD, "attributes": value}])
    assert dict(table.column("attributes").to_pylist()[0]) == {"fit": "loose", "brand": "X"}


@pytest.mark.parametrize("missing", REQUIRED)
@pytest.mark.parametrize("name", ["feed.csv", "feed.jsonl", "feed.parquet"])
def test_a_missing_column_is_named_with_those_seen(tmp_path: Path, name: str, missing: str) -> None:
    row = {k: v for k, v in GOOD.items() if k != missing}
    with pytest.raises(ContractError, match=f"no column '{missing}'; it has: .*title, brand"):
        _run(tmp_path, _write(tmp_path / name, [row]))


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("absent.csv", None, ConfigError, "cannot be read: No such file"),
        ("feed.xlsx", b"x", ConfigError, "should end in one of .csv, .jsonl"),
        ("feed.csv", b"product_id,category,url\np\xff,dress,https://a.example\n", ConfigError, "UTF-8"),
        ("feed.parquet", b"not parquet at all", ConfigError, "cannot be read"),
        ("feed.csv", b"", StageFailed, "gives no item"),
        (
            "feed.csv",
            b"product_id,category,url\np,hat,https://a.example\n",
            StageFailed,
            "1 unknown_category",
        ),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, name: str, content: bytes | None, error: type[FacapError], says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=says) as raised:
        _run(tmp_path, str(tmp_path / name))
    assert name in str(raised.value) and "\n" not in str(raised.value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from([*REQUIRED, "title", "attributes", "brand"]) | st.text()


@given(st.lists(st.none() | st.dictionaries(_KEYS, _VALUES) | _VALUES.map(lambda v: {**GOOD, "x": v})))
@settings(deadline=None)
def test_any_records_become_items_or_counted_failures(lines: list[dict | None]) -> None:
    items = Items("feed")
    table = items.table(lines)
    assert table.schema.equals(ITEMS)
    assert table.num_rows + items.repeated + items.failures.total() == len(lines)
