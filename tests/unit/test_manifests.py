"""Tables as files: realistic ones, and any bytes at all."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog.documents import Document
from facap.catalog.lines import Bounded, BrokenSource, Unreadable
from facap.catalog.manifests import MAX_LINE, csv_lines, json_lines, parquet_lines, tsv_lines
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
