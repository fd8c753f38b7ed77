"""Tables as files: realistic ones, and any bytes at all."""

import csv
import gzip
import io
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog.documents import Document
from facap.catalog.items import Items
from facap.catalog.lines import MAX_MEMBERS, MEMBER_BYTES, Bounded, BrokenSource, Unreadable, open_bounded
from facap.catalog.manifests import MAX_LINE, csv_lines, json_lines, parquet_lines, tsv_lines
from facap.catalog.peeked import Peeked, pieces_of
from facap.catalog.readers import STREAMED, read_lines

GOOGLE_TSV = (
    "id\ttitle\timage link\tadditional image link\tgoogle product category\tcolor\n"
    '7\t12" heel dress\thttps://a.example/7.jpg\thttps://a.example/7b.jpg,https://a.example/7c.jpg\t2271\tred\n'
    '8\t"Quoted ""top"""\thttps://a.example/8.jpg\t\t212\t\n'
)


def reasons(lines: list) -> list[str]:
    return [line.reason for line in lines if isinstance(line, Unreadable)]


def test_google_merchants_tab_separated_feed() -> None:
    first, second = tsv_lines(io.BytesIO(GOOGLE_TSV.encode()))
    assert isinstance(first, dict) and isinstance(second, dict)
    assert first["title"] == '12" heel dress' and first["google_product_category"] == "2271"
    assert first["additional_image_link"] == "https://a.example/7b.jpg,https://a.example/7c.jpg"
    assert second["title"] == 'Quoted "top"'


@pytest.mark.parametrize("read", [csv_lines, json_lines])
def test_a_huge_line_is_one_failure_and_the_next_line_is_read(read) -> None:  # type: ignore[no-untyped-def]
    good = "sku,url\n1,a\n" if read is csv_lines else '{"sku": "1"}\n'
    after = "2,b\n" if read is csv_lines else '{"sku": "2"}\n'
    text = good + "x" * (3 * MAX_LINE + 5) + "\n" + after
    lines = list(read(io.BytesIO(text.encode())))
    assert [line["sku"] for line in lines if isinstance(line, dict)] == ["1", "2"]
    assert reasons(lines) == ["malformed_line"]


def test_a_quote_that_is_never_closed_costs_no_more_than_a_cell() -> None:
    text = 'sku,url\n1,"a\n' + "2,b\n" * 100_000
    lines = list(csv_lines(io.BytesIO(text.encode())))
    assert reasons(lines) == ["malformed_line"]
    assert len(lines) > 60_000


def test_a_header_that_is_no_text_ends_the_source() -> None:
    with pytest.raises(BrokenSource, match="no header"):
        list(csv_lines(io.BytesIO(b"x" * 10**6)))


def test_parquet_rows_that_are_no_text_are_counted_one_by_one(tmp_path: Path) -> None:
    bad = pa.array([b"a", b"\xff\xfe", b"c"]).view(pa.string())
    pq.write_table(pa.table({"sku": bad}), tmp_path / "t.parquet")
    lines = list(parquet_lines(str(tmp_path / "t.parquet")))
    assert [line for line in lines if isinstance(line, dict)] == [{"sku": "a"}, {"sku": "c"}]
    assert reasons(lines) == ["bad_text"]


def test_a_gzip_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb") as out:
        out.write(b'{"sku": "1"}\n')
        for _ in range(200):
            out.write(b" " * (1 << 20))
    assert path.stat().st_size < 300_000
    lines = list(read_lines(Document("bomb", str(path), "jsonl"), max_bytes=10**7))
    assert (
        lines[0] == {"sku": "1"}
        and reasons(lines) == ["malformed_line", "source_too_large"][-len(lines) + 1 :]
    )


def test_gzip_in_several_members_cut_short_or_broken() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 10
    assert io.BufferedReader(Bounded(io.BytesIO(packed), 100)).read() == b"one two"
    for broken in (packed[:-30], b"\x1f\x8b" + b"nonsense" * 5):
        with pytest.raises(BrokenSource) as raised:
            io.BufferedReader(Bounded(io.BytesIO(broken), 100)).read()
        assert raised.value.reason == "corrupt_gzip"


@pytest.mark.parametrize("content", [b"", b"x"])
def test_gzip_members_that_hold_hardly_anything_are_counted(content: bytes) -> None:
    packed = gzip.compress(content) * MAX_MEMBERS
    assert io.BufferedReader(Bounded(io.BytesIO(packed), 10**7)).read() == content * MAX_MEMBERS
    file = Peeked(pieces_of(io.BufferedReader(Bounded(io.BytesIO(packed + gzip.compress(b"y")), 10**7))))
    assert file.head(2 * MAX_MEMBERS) == content * MAX_MEMBERS  # what came before is kept
    with pytest.raises(BrokenSource, match=f"{MAX_MEMBERS + 1} members") as raised:
        file.read()
        file.read()
    assert raised.value.reason == "corrupt_gzip"


def test_block_gzip_may_have_any_number_of_members() -> None:
    packed = gzip.compress(bytes(MEMBER_BYTES)) * (3 * MAX_MEMBERS)
    read = io.BufferedReader(Bounded(io.BytesIO(packed), 10**8)).read()
    assert len(read) == 3 * MAX_MEMBERS * MEMBER_BYTES


_HEADS = st.sampled_from([b"", b"sku,url\n", b'{"a":1}\n', b"PAR1", b"\x1f\x8b\x08\x00", b"<urlset><url>"])


@given(st.binary(max_size=3000), _HEADS)
@settings(deadline=None, max_examples=150)
def test_any_bytes_are_lines_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head + body)
    for kind in [*STREAMED, "parquet"]:
        for line in read_lines(Document("any", str(path), kind), max_bytes=10_000):
            assert isinstance(line, dict) or line.reason.replace("_", "").isalpha()


@given(st.binary(max_size=5000), st.integers(1, 200))
def test_gzip_comes_out_as_it_went_in(body: bytes, size: int) -> None:
    file = io.BufferedReader(Bounded(io.BytesIO(gzip.compress(body)), 5000))
    pieces = []
    while piece := file.read(size):
        pieces.append(piece)
    assert b"".join(pieces) == body


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_a_damaged_parquet_file_gives_lines_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, where: int, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    rows = {"sku": [str(n) for n in range(50)], "tags": [["a", "b"]] * 50}
    pq.write_table(pa.table(rows), path)
    whole = bytearray(path.read_bytes())
    where %= len(whole)
    whole[where : where + len(junk)] = junk
    path.write_bytes(whole)
    lines = list(read_lines(Document("damaged", str(path), "parquet"), 10**6))
    assert all(isinstance(line, dict | Unreadable) for line in lines)
    assert lines or pq.ParquetFile(path).metadata.num_rows == 0
    json.dumps([line for line in lines if isinstance(line, dict)], default=str)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_COLUMNS = ("id", "title", "image_link", "product_type", "colour")
_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3"]),
        _TEXT,
        st.sampled_from(["https://a.example/w_8,h_9/1.jpg", "https://a.example/2.jpg"]),
        st.sampled_from(["Dresses", "Tops > Bl\u00fcsen", ""]),
        _TEXT,
    ).map(lambda cells: dict(zip(_COLUMNS, cells, strict=True))),
    min_size=1,
    max_size=5,
)


def written(rows: list[dict], encoding: str, **dialect: object) -> bytes:
    out = io.StringIO(newline="")
    broken = any({"\r", "\n"} & set(value) for row in rows for value in row.values())
    quoting = csv.QUOTE_ALL if broken else csv.QUOTE_MINIMAL  # which forgets those that end no line
    table = csv.DictWriter(out, list(rows[0]), quoting=quoting, **dialect)  # type: ignore[arg-type]
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().encode(encoding)


@given(
    _ROWS,
    st.sampled_from(ENCODINGS),
    st.sampled_from([",", ";", "|", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_a_table_is_the_same_in_any_encoding_and_with_any_delimiter(
    rows: list[dict], encoding: str, delimiter: str, end: str, said: bool
) -> None:
    body = written(rows, encoding, delimiter=delimiter, lineterminator=end)
    if said:
        line = f"sep={delimiter}{end}"
        mark = len("".encode(encoding))
        body = line.encode(encoding) + body[mark:]
    assert Items("x").table(csv_lines(io.BytesIO(body))) == Items("x").table(iter(rows))


_LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\t\r"'), max_size=9)


@given(_ROWS, st.lists(_LINES, min_size=1, max_size=3), st.sampled_from(ENCODINGS), st.booleans())
@settings(deadline=None, max_examples=100)
def test_cells_between_tabs_may_have_lines_and_lone_quotes(
    rows: list[dict], lines: list[str], encoding: str, quoted: bool
) -> None:
    rows = [{**row, "title": "\n".join(["x", *lines]), "colour": '12" heel'} for row in rows]
    if quoted:  # as Excel does
        cells = [[f'"{v}"' if "\n" in v else v for v in row.values()] for row in rows]
    else:  # as Google Merchant does, where a cell is a line
        rows = [{**row, "title": '"' + "".join("".join(lines).split("\n"))} for row in rows]
        cells = [list(row.values()) for row in rows]
    text = "\n".join("\t".join(line) for line in [list(rows[0]), *cells])
    assert Items("x").table(tsv_lines(io.BytesIO(text.encode(encoding)))) == Items("x").table(iter(rows))


@pytest.mark.parametrize(
    ("encoding", "broken"),
    [
        ("utf-8", b"\xff"),
        ("utf-8-sig", b"\xc3"),
        ("utf-16", b"\x00\xdc"),
        ("utf-16-be", b"\xd8\x00"),
        ("utf-32", b"\xff\xff\xff\xff"),
    ],
)
def test_a_broken_character_costs_its_row(encoding: str, broken: bytes) -> None:
    rows = [{"id": title, "title": title, "image_link": "https://a.example/1.jpg"} for title in "a\u00e9b"]
    good = "\u00e9".encode(encoding)[len("".encode(encoding)) :]
    items = Items("x", default_category="dress")
    table = items.table(csv_lines(io.BytesIO(written(rows, encoding).replace(good, broken))))
    assert table.column("product_id").to_pylist() == ["a", "b"] and items.failures == {"bad_text": 1}


def test_a_heading_that_is_not_utf8_keeps_its_rows_and_says_so() -> None:
    body = "id,mati\u00e8re,image_link\n1,lin,u\n2,\u00e9,u\n".encode("cp1252")
    said, first, second = csv_lines(io.BytesIO(body))
    assert isinstance(said, Unreadable) and said.reason == "bad_heading"
    assert "not UTF-8: mati\\xe8re" in said.seen
    assert first == {"id": "1", "mati\\xe8re": "lin", "image_link": "u"}
    assert isinstance(second, dict) and second["mati\\xe8re"] == "\udce9"


def test_a_quote_between_tabs_that_is_never_closed_costs_nothing() -> None:
    text = 'sku\turl\n1\t"a\n' + "2\n" * 100_000
    assert len(list(tsv_lines(io.BytesIO(text.encode())))) == 100_001


@given(st.binary(max_size=3000), st.integers(1, 3), st.binary(max_size=50))
@settings(deadline=None)
def test_what_follows_gzip_is_none_of_it(body: bytes, members: int, after: bytes) -> None:
    if after.lstrip(b"\0").startswith(b"\x1f\x8b"):
        after = b"x" + after
    packed = gzip.compress(body) * members + after
    assert io.BufferedReader(Bounded(io.BytesIO(packed), 10_000)).read() == body * members


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 10_000), st.integers(1, 3))
@settings(deadline=None)
def test_gzip_that_is_cut_gives_what_came_before(body: bytes, cut: int, times: int) -> None:
    whole = gzip.compress(body * 50 * times)
    packed = whole[: 2 + cut % (len(whole) - 2)]
    file = Peeked(pieces_of(io.BufferedReader(Bounded(io.BytesIO(packed), 10**6))))  # type: ignore[arg-type]
    head, read = file.head(100), b""
    with pytest.raises(BrokenSource) as raised:
        for _ in itertools.count():
            read += file.read1(1000)
    assert raised.value.reason == "corrupt_gzip"
    assert (body * 50 * times).startswith(read) and read.startswith(head)


def test_most_of_a_gzip_file_that_is_cut_is_kept(tmp_path: Path) -> None:
    rows = [{"sku": str(n), "url": f"https://a.example/{n * 7919 % 10**6}.jpg"} for n in range(20_000)]
    whole = gzip.compress(written(rows, "utf-8"))
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    *lines, end = read_lines(Document("cut", str(tmp_path / "cut.csv.gz"), "csv"), 10**7)
    assert lines == rows[: len(lines)] and len(lines) > 8000
    assert isinstance(end, Unreadable) and end.reason == "corrupt_gzip"
    with open_bounded(str(tmp_path / "cut.csv.gz"), 10**7) as file:
        assert len(Peeked(pieces_of(file)).head(10**6)) > 200_000
