"""Tables as files: CSV, tab-separated, JSON Lines, Parquet -> lines.

    >>> import io
    >>> list(csv_lines(io.BytesIO(b"sku,url\\n1,https://a.example/1.jpg\\n")))
    [{'sku': '1', 'url': 'https://a.example/1.jpg'}]

A byte-order mark names the encoding, else it is UTF-8; other bytes become half surrogates, which `items`
counts as bad_text. Cells are parted as the header is: by `,`, `;`, `|` or tabs, or as Excel's line `sep=;`
says. Lines longer than MAX_LINE characters and records that do not parse are `Unreadable`; nothing else is
raised than BrokenSource.
"""

import csv
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from facap.catalog.encodings import text_of
from facap.catalog.lines import BrokenSource, Line, Unreadable
from facap.quoting import printable, shown

MAX_LINE = 1 << 20  # characters; a product in a line of JSON takes a few thousand
ROWS_AT_ONCE = 1000  # of Parquet
MAX_CELL_LINES = 1000  # of a cell between tabs; a description takes ten
DELIMITERS = ",;|\t"
_SEP = re.compile(r'"?sep=([^\w"\r\n])"?\s*', re.IGNORECASE)  # Excel's first line
_CLOSING = re.compile(r'(?:[^"\t]++|"")*+"(?=[\t\r\n]|\Z)')
_QUOTED = re.compile(r'"(?:[^"]++|"")*+"?')


def csv_lines(file: BinaryIO) -> Iterator[Line]:
    """A header, then one record a line; quoted cells may hold line breaks."""
    lines = _text_lines(file)
    first, delimiter = _begin(lines, ",")
    return _records(_rows_of_quotes(itertools.chain(first, lines), delimiter))


def tsv_lines(file: BinaryIO) -> Iterator[Line]:
    """As CSV, with tabs; headings in Google Merchant's spellings ("image link") become its names."""
    lines = _text_lines(file)
    first, delimiter = _begin(lines, "\t")
    if delimiter != "\t":
        return _records(_rows_of_quotes(itertools.chain(first, lines), delimiter))
    rows = _rows_of_tabs(itertools.chain(first, lines))
    header = next(rows, [])
    named = ["_".join(name.lower().split()) for name in header] if isinstance(header, list) else header
    return _records(itertools.chain([named], rows))


def _begin(lines: Iterator[str | None], usual: str) -> tuple[list[str | None], str]:
    """The first line with text, which is taken from `lines`, and the delimiter; a line sep= is dropped."""
    said = ""
    for line in lines:
        found = _SEP.fullmatch(line) if line and not said else None
        if found:
            said = found[1]
        elif line is None or line.strip(" \r\n"):
            return [line], said or _delimiter(line or "", usual)
    return [], usual


def _delimiter(header: str, usual: str) -> str:
    """The one of DELIMITERS that parts the most headings, `usual` before others."""
    if usual == "\t" and "\t" in header:
        return usual
    bare = _QUOTED.sub("", header)
    return max(usual + DELIMITERS, key=bare.count)


Rows = Iterator[list[str] | Unreadable]


def _rows_of_quotes(lines: Iterator[str | None], delimiter: str) -> Rows:
    """Cells by the rules of CSV: one in quotes may hold the delimiter and line breaks."""
    # A line that is too long becomes a cell that is too long, which the reader refuses wherever it stands.
    too_long = "x" * (csv.field_size_limit() + 1) + "\n"
    reader = csv.reader((line if line is not None else too_long for line in lines), delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Unreadable("malformed_line", str(error))


def _rows_of_tabs(lines: Iterator[str | None]) -> Rows:
    """Cells between tabs, where a quote may stand alone (12" heel)."""
    for line in _whole(lines):
        cells = (line or "").rstrip("\r\n").split("\t")
        if line is None or max(map(len, cells)) > csv.field_size_limit():
            yield Unreadable("malformed_line", f"a cell of more than {csv.field_size_limit()} characters")
        else:
            yield [_unquoted(cell) for cell in cells]


def _whole(lines: Iterator[str | None]) -> Iterator[str | None]:
    """Lines of tabs, those that a last cell in quotes goes over as one; Excel writes such cells.

    A quote that opens no cell is told by a line with tabs before one that closes it.
    """
    held: list[str] = []
    for line in lines:
        while held:
            closing = _CLOSING.match(line) if line is not None else None
            if closing:
                line = "".join([*held, line or ""])
                held = []
            elif line is None or "\t" in line or _is_long(held):
                yield from held
                held = []
            else:
                held.append(line)
                break
        else:
            last = (line or "").rpartition("\t")[2].rstrip("\r\n")
            if line is not None and last.startswith('"') and last.count('"') % 2:
                held = [line]
            else:
                yield line
    yield from held


def _is_long(held: list[str]) -> bool:
    return len(held) >= MAX_CELL_LINES or sum(map(len, held)) >= csv.field_size_limit()


def _records(rows: Rows) -> Iterator[Line]:
    first = next(rows, [])
    if isinstance(first, Unreadable):
        raise BrokenSource("malformed_header", f"the first line is no header: {first.seen}")
    header = [name.strip() for name in first]
    bad = [name for name in header if not name.isascii() and _is_bad(name)]
    if bad:
        yield Unreadable(
            "bad_heading", f"the header is not UTF-8: {shown(bad[0], 80)}; save the table as UTF-8"
        )
        header = [printable(name) if name in bad else name for name in header]
    for cells in rows:
        if isinstance(cells, Unreadable):
            yield cells
        elif any(cells[len(header) :]):
            yield Unreadable("malformed_line", f"{len(cells)} cells for {len(header)} columns")
        elif any(cells):  # a blank line is nothing
            yield dict(itertools.zip_longest(header, cells[: len(header)]))


def _is_bad(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


def _unquoted(cell: str) -> str:
    """Tab-separated feeds hold lone quotes (12" heel), so only a cell wholly in quotes loses them."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def json_lines(file: BinaryIO) -> Iterator[Line]:
    """One object a line."""
    for line in _text_lines(file):
        if line is None:
            yield Unreadable("malformed_line", f"a line of more than {MAX_LINE} characters")
        elif line.strip():
            yield _record(line)


def _record(line: str) -> Line:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else Unreadable("malformed_line", shown(line))


def _text_lines(file: BinaryIO) -> Iterator[str | None]:
    """The lines of a text, None for one of more than MAX_LINE characters."""
    text = text_of(file)
    while line := text.readline(MAX_LINE):
        if len(line) < MAX_LINE or line.endswith(("\n", "\r")):
            yield line
            continue
        while line and not line.endswith(("\n", "\r")):
            line = text.readline(MAX_LINE)
        yield None


def parquet_lines(path: str) -> Iterator[Line]:
    """The rows, a batch at a time."""
    try:
        with pq.ParquetFile(path) as file:
            read = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                read += batch.num_rows
                yield from _rows(batch)
            told = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError, NotImplementedError, MemoryError) as error:
        message = shown(" ".join(str(error).split()))
        raise BrokenSource("malformed_parquet", f"cannot be read as Parquet: {message}") from error
    if read != told:
        raise BrokenSource("malformed_parquet", f"tells of {told} rows and holds {read}")


def _rows(batch: pa.RecordBatch) -> Iterator[Line]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (ValueError, OverflowError):  # bytes that are no text, times before year 1
        rows = []
        for number in range(batch.num_rows):
            try:
                rows += batch.slice(number, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                yield Unreadable("bad_text", str(error))
    yield from rows
