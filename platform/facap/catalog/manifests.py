"""Tables as files: CSV, tab-separated, JSON Lines, Parquet -> lines.

    >>> import io
    >>> list(csv_lines(io.BytesIO(b"sku,url\\n1,https://a.example/1.jpg\\n")))
    [{'sku': '1', 'url': 'https://a.example/1.jpg'}]

Bytes that are not UTF-8 become half surrogates, which `items` counts as bad_text. Lines longer than
MAX_LINE characters and records that do not parse are `Unreadable`; nothing else is raised than
BrokenSource.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from facap.catalog.lines import BrokenSource, Line, Unreadable

MAX_LINE = 1 << 20  # characters; a product in a line of JSON takes a few thousand
ROWS_AT_ONCE = 1000  # of Parquet
SEEN = 200  # characters of a bad line that are shown


def csv_lines(file: BinaryIO, delimiter: str = ",") -> Iterator[Line]:
    """A header, then one record a line; quoted cells may hold line breaks."""
    # A line that is too long becomes a cell that is too long, which the reader refuses wherever it stands.
    too_long = "x" * (csv.field_size_limit() + 1) + "\n"
    text = (line if line is not None else too_long for line in _text_lines(file))
    tabs = delimiter == "\t"
    reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
    try:
        header = [_heading(name, delimiter) for name in next(reader, [])]
    except csv.Error as error:
        raise BrokenSource("malformed_header", f"the first line is no header: {error}") from error
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Unreadable("malformed_line", str(error))
            continue
        if cells is None:
            return
        if len(cells) > len(header):
            yield Unreadable("malformed_line", f"{len(cells)} cells for {len(header)} columns")
        elif cells:  # a blank line is nothing
            yield dict(itertools.zip_longest(header, map(_unquoted, cells) if tabs else cells))


def tsv_lines(file: BinaryIO) -> Iterator[Line]:
    """As CSV, with tabs; headings in Google Merchant's spellings ("image link") become its names."""
    return csv_lines(file, delimiter="\t")


def _heading(name: str, delimiter: str) -> str:
    name = name.strip()
    return "_".join(_unquoted(name).lower().split()) if delimiter == "\t" else name


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
    return record if isinstance(record, dict) else Unreadable("malformed_line", line[:SEEN])


def _text_lines(file: BinaryIO) -> Iterator[str | None]:
    """The lines of a text, None for one of more than MAX_LINE characters."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
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
        message = " ".join(str(error).split())[:SEEN]
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
                yield Unreadable("bad_text", str(error)[:SEEN])
    yield from rows
