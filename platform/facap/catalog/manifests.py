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
DELIMITERS = ",;|\t"
_SEP = re.compile(r'"?sep=([^\w"\r\n])"?\s*', re.IGNORECASE)  # Excel's first line
_QUOTED = re.compile(r'"(?:[^"]++|"")*+"?')


def csv_lines(file: BinaryIO) -> Iterator[Line]:
    """A header, then one record a line; quoted cells may hold line breaks."""
    lines = _text_lines(file)
    first, delimiter = _begin(lines, ",")
    return _records(itertools.chain(first, lines), delimiter, quoted=True)


def tsv_lines(file: BinaryIO) -> Iterator[Line]:
    """As CSV, with tabs; headings in Google Merchant's spellings ("image link") become its names."""
    lines = _text_lines(file)
    first, delimiter = _begin(lines, "\t")
    return _records(itertools.chain(first, lines), delimiter, quoted=delimiter != "\t")


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


def _records(lines: Iterator[str | None], delimiter: str, quoted: bool) -> Iterator[Line]:
    # A line that is too long becomes a cell that is too long, which the reader refuses wherever it stands.
    too_long = "x" * (csv.field_size_limit() + 1) + "\n"
    text = (line if line is not None else too_long for line in lines)
    reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    try:
        header = [_heading(name, quoted) for name in next(reader, [])]
    except csv.Error as error:
        raise BrokenSource("malformed_header", f"the first line is no header: {error}") from error
    bad = [name for name in header if not name.isascii() and _is_bad(name)]
    if bad:
        yield Unreadable(
            "bad_heading", f"the header is not UTF-8: {shown(bad[0], 80)}; save the table as UTF-8"
        )
        header = [printable(name) if name in bad else name for name in header]
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Unreadable("malformed_line", str(error))
            continue
        if cells is None:
            return
        if len(cells) > len(header) and any(cells[len(header) :]):
            yield Unreadable("malformed_line", f"{len(cells)} cells for {len(header)} columns")
        elif any(cells):  # a blank line is nothing
            cells = cells[: len(header)]
            yield dict(itertools.zip_longest(header, cells if quoted else map(_unquoted, cells)))


def _heading(name: str, quoted: bool) -> str:
    name = name.strip()
    return name if quoted else "_".join(_unquoted(name).lower().split())


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
