"""Manifests to ITEMS: formats, what becomes of every unusable line, and errors that say what to do."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog import pipeline
from facap.catalog.columns import REQUIRED, Columns, addresses
from facap.catalog.config import CatalogConfig
from facap.catalog.documents import SUFFIXES, Document
from facap.catalog.items import Items, item_id
from facap.catalog.lines import BrokenSource, Unreadable, lost
from facap.catalog.manifests import json_lines
from facap.catalog.readers import read_lines
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


def _run(tmp_path: Path, manifest: str, **config: Any):
    store = Store(str(tmp_path / "workspace"))
    progress = Progress("catalog", io.StringIO())
    return store, pipeline.run(store, CatalogConfig(manifest=manifest, **config), progress)


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
        json.dumps({**GOOD, "product_id": "p9", "category": "shoes"}),  # kept, see below
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
        "bad_url": 2,
        "bad_text": 1,
        "malformed_line": 3,
    }
    assert report.rows_in == 12 and report.rows_out == 2 and report.note == "1 repeated, 1 unmapped"
    assert report.failed + report.rows_out + 1 == report.rows_in
    extra = store.require("items").extra
    assert extra["failures"] == report.failures and "ftp:" in extra["examples"]["bad_url"]
    assert extra["unmapped_names"] == {"shoes": 1}


def test_what_maps_nowhere_is_kept_and_flagged_with_its_own_name() -> None:
    items = Items("feed")
    names = ["Kleider", "Shoes", None, "Midi Dresses", "dress"]
    rows = items.table(
        [{**GOOD, "product_id": str(n), "category": name} for n, name in enumerate(names)]
    ).to_pylist(maps_as_pydicts="strict")
    assert [row["category"] for row in rows] == ["unmapped", "unmapped", "unmapped", "dress", "dress"]
    said = [row["attributes"].get("category") for row in rows]
    assert said == ["Kleider", "Shoes", None, "Midi Dresses", None]
    assert items.unmapped == {"Kleider": 1, "Shoes": 1, "(none)": 1} and not items.failures


def test_a_default_category_is_for_the_unknown_not_for_what_is_known_to_be_none_of_ours() -> None:
    lines = [{**GOOD, "product_id": f"p{c}", "category": c} for c in ("", "Kleider", "Shoes", "tops")]
    rows = Items("feed", default_category="dress").table(lines).column("category").to_pylist()
    assert rows == ["dress", "dress", "unmapped", "top"]


def test_the_names_of_unmapped_categories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facap.catalog.items.MAX_NAMES", 3)
    items = Items("feed")
    items.table([{**GOOD, "product_id": str(n), "category": f"zzz{n}"} for n in range(10)])
    assert len(items.unmapped) == 4 and items.unmapped["(others)"] == 7


def test_columns_are_mapped_by_config(tmp_path: Path) -> None:
    row = {"sku": "p1", "kind": "dress", "picture": GOOD["url"], "title": "A", "url": "https://a.example/p1"}
    columns = {"product_id": "sku", "category": "kind", "url": "picture"}
    store, report = _run(tmp_path, _write(tmp_path / "feed.csv", [row]), columns=columns)
    (item,) = store.read("items").to_pylist(maps_as_pydicts="strict")
    assert (item["product_id"], item["category"], item["url"]) == ("p1", "dress", GOOD["url"])
    assert item["attributes"] == {"url": "https://a.example/p1"} and report.rows_out == 1


def test_another_mapping_makes_another_version(tmp_path: Path) -> None:
    path = _write(tmp_path / "feed.csv", [{**GOOD, "other": "https://a.example/9.jpg"}])
    _run(tmp_path, path)
    store, second = _run(tmp_path, path, columns={"url": "other"})
    assert not second.reused
    assert store.read("items").column("url").to_pylist() == ["https://a.example/9.jpg"]


def test_a_table_of_ones_own_makes_another_version(tmp_path: Path) -> None:
    path = _write(tmp_path / "feed.csv", [{**GOOD, "category": "Kleider"}])
    store, first = _run(tmp_path, path)
    assert store.read("items").column("category").to_pylist() == ["unmapped"] and first.note == "1 unmapped"
    (tmp_path / "mine.yaml").write_text("dress: [kleid, kleider]")
    store, second = _run(tmp_path, path, categories=str(tmp_path / "mine.yaml"))
    assert store.read("items").column("category").to_pylist() == ["dress"] and second.note == ""


@pytest.mark.parametrize("more", ["https://a.example/2.jpg, https://a.example/3.jpg", None])
def test_each_address_of_a_line_is_an_item(more: str | None) -> None:
    items = Items("feed")
    urls = items.table([{**GOOD, "additional_image_link": more}]).column("url").to_pylist()
    assert len(urls) == items.lines == (3 if more else 1) and urls[0] == GOOD["url"]


def test_variants_of_a_group_are_one_product() -> None:
    line = {"id": "7-red-s", "item_group_id": "7", "image_link": GOOD["url"], "product_type": "Tops"}
    items = Items("feed")
    (row,) = items.table([line, {**line, "id": "7-red-m"}]).to_pylist(maps_as_pydicts="strict")
    assert row["product_id"] == "7" and row["attributes"] == {"id": "7-red-s", "category": "Tops"}
    assert items.repeated == 1
    assert next(Columns({"product_id": "id"}).images(line))["product_id"] == "7-red-s"


def test_csv_with_marks_quotes_and_ragged_lines(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(
        "\ufeffproduct_id,category,url,title\n"
        'p1,dress,https://a.example/1.jpg,"Long, ""red"""\n'
        "\n"
        "p2,dress,https://a.example/2.jpg\n"
        "p3,dress,https://a.example/3.jpg,a,too,many\n"
    )
    rows = list(read_lines(Document("feed.csv", str(path), "csv"), 10**6))
    assert isinstance(rows[0], dict) and rows[0]["title"] == 'Long, "red"'
    assert isinstance(rows[1], dict) and rows[1]["title"] is None
    assert isinstance(rows[2], Unreadable) and rows[2].reason == "malformed_line" and len(rows) == 3


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
        ("feed.xlsx", b"x", ConfigError, "should end in one of .csv, .tsv"),
        ("feed.csv", b"product_id,category,url\np\xff,dress,https://a.example\n", StageFailed, "1 bad_text"),
        ("feed.parquet", b"not parquet at all", StageFailed, "1 malformed_parquet"),
        ("feed.xml", b"<svg/>", ConfigError, "should end in one of .csv"),
        ("feed.csv", b"", StageFailed, "gives no item"),
        (
            "feed.csv",
            b"product_id,category,url\np,hat,ftp://a.example\n",
            StageFailed,
            "1 bad_url",
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
_KEYS = st.sampled_from([*REQUIRED, "title", "attributes", "brand", "additional_image_link"]) | st.text()
_LINES = st.dictionaries(_KEYS, _VALUES) | _VALUES.map(lambda v: {**GOOD, "x": v})


@given(st.lists(st.just(Unreadable("malformed_line", "\ud800")) | _LINES))
@settings(deadline=None)
def test_any_records_become_items_or_counted_failures(lines: list[dict | Unreadable]) -> None:
    items = Items("feed")
    table = items.table(lines)
    assert table.schema.equals(ITEMS)
    assert table.num_rows + items.repeated + items.failures.total() == items.lines >= len(lines)
    assert items.unmapped.total() == table.column("category").to_pylist().count("unmapped")
    json.dumps([items.failures, items.examples, items.unmapped]).encode()


_ADDRESS = st.text("abc019_,;|=./?&", max_size=12).map(
    lambda rest: ("https://a.example/" + rest).rstrip(",;|") + "x"
)


@given(
    st.lists(_ADDRESS, max_size=6), st.sampled_from([",", ", ", " ", "|", " | ", ";", "\n", "\t", ",\r\n"])
)
def test_addresses_are_parted_before_http_alone(urls: list[str], separator: str) -> None:
    assert addresses(separator.join(urls)) == addresses(f"{separator.join(urls)}{separator}") == urls
    assert addresses(urls) == urls
    lines = [{**GOOD, "url": separator.join(urls)}]
    found = Items("feed").table(lines).column("url").to_pylist()
    assert found == list(dict.fromkeys(urls))


_PRODUCTS = st.lists(
    st.tuples(
        st.text("ab", min_size=1, max_size=2),
        st.sampled_from(["Dresses", "Kleider", ""]),
        st.sampled_from(["A title", ""]),
        st.integers(1, 4),
    ),
    max_size=5,
    unique_by=lambda product: product[0],
)


@given(_PRODUCTS, st.sampled_from(["", " ", None]))
@settings(deadline=None)
def test_blank_cells_are_those_of_the_row_before_of_the_same_product(
    products: list[tuple[str, str, str, int]], blank: str | None
) -> None:
    full, sparse = [], []
    for name, category, title, count in products:
        for n in range(count):
            url = f"https://a.example/{name}{n}.jpg"
            full.append({"product_id": name, "category": category, "title": title, "url": url, "x": "1"})
            said = {} if n == 0 else {"category": blank, "title": blank}
            sparse.append({**full[-1], **said})
    assert Items("feed").table(sparse) == Items("feed").table(full)


def test_a_blank_cell_of_another_product_stays_blank() -> None:
    rows = [GOOD, {**GOOD, "product_id": "p2", "category": "", "title": "", "brand": ""}]
    (_, row) = Items("feed").table(rows).to_pylist(maps_as_pydicts="strict")
    assert (row["category"], row["title"], row["attributes"]) == ("unmapped", None, {})
    again = {**GOOD, "url": "https://a.example/2.jpg", "brand": ""}
    (_, row) = Items("feed").table([GOOD, again]).to_pylist(maps_as_pydicts="strict")
    assert row["attributes"] == {}  # of a picture, a size or a colour, not of the product


def test_a_column_is_found_in_other_spellings_if_none_is_spelled_as_asked_for() -> None:
    line = {"ID": "1", "Product Type": "Tops", "Image Link": "https://a.example/1.jpg", "TITLE": "T"}
    (row,) = Items("feed").table([line]).to_pylist(maps_as_pydicts="strict")
    assert (row["product_id"], row["category"], row["title"]) == ("1", "top", "T")
    both = {**GOOD, "URL": "https://a.example/page"}
    (row,) = Items("feed").table([both]).to_pylist(maps_as_pydicts="strict")
    assert row["url"] == GOOD["url"] and row["attributes"] == {"brand": "X", "URL": both["URL"]}


def test_a_record_nested_as_deep_as_python_goes_is_counted() -> None:
    for depth in range(900, 1000, 5):
        record: Any = json.dumps(GOOD)[:-1] + f', "x": {"[" * depth}{"]" * depth}' + "}\n"
        lines = json_lines(io.BytesIO(record.encode()))
        items = Items("feed")
        assert items.table(lines).num_rows + items.failures.total() == 1


_NAMES = st.sampled_from([f"a{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")])
_STARTS = st.sampled_from(
    [b"", b"\xff\xfe", b"id,url,category\n", b"id\turl\tca\xe9\n", b"<rss>", b"<urlset><url>", b'{"id": "'],
)


@given(_NAMES, _STARTS, st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_whatever_a_source_holds_its_error_can_be_printed(
    tmp_path_factory: pytest.TempPathFactory, name: str, start: bytes, rest: bytes
) -> None:
    folder = tmp_path_factory.mktemp("source")
    (folder / name).write_bytes(start + rest)
    said = io.StringIO()
    config = CatalogConfig(manifest=str(folder / name))
    try:
        pipeline.run(Store(str(folder / "workspace")), config, Progress("catalog", said))
    except FacapError as error:
        said.write(str(error))
    text = said.getvalue()
    assert text.replace("\n", "").isprintable() and len(text) < 10_000 and text.encode()


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "caf\udce9\n.jsonl").write_text(json.dumps(GOOD))
    store, _ = _run(tmp_path, str(tmp_path / "in"))
    (row,) = store.read("items").to_pylist()
    assert row["source"].endswith("caf\\xe9\\n.jsonl")
    with pytest.raises(FacapError) as raised:
        _run(tmp_path, str(tmp_path / "\udce9\0"))
    assert str(raised.value).isprintable()


def test_no_example_or_message_says_the_query_of_an_address() -> None:
    items = Items("https://me:SECRET@a.example/feed?sig=SECRET")
    items.table([{"product_id": "1", "category": "top", "url": "ftp://me:SECRET@a.example/1.jpg?sig=SECRET"}])
    assert "ftp://a.example/1.jpg'" in items.examples["bad_url"] and "SECRET" not in items.examples["bad_url"]
    items = Items("https://me:SECRET@a.example/feed?sig=SECRET")
    good = {"product_id": "1", "url": "https://a.example/1.jpg?sig=1"}
    assert items.table([good]).column("url").to_pylist() == [good["url"]]
    with pytest.raises(ContractError, match=r"manifest 'https://a\.example/feed' has no column"):
        items.check_columns()
    for seen in (Unreadable("x", items.source).seen, str(BrokenSource("x", items.source))):
        assert seen == "https://a.example/feed"
    assert lost(BrokenSource("x", "why"), items.source).seen == "https://a.example/feed: why"
