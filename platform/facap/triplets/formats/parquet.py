"""Our own tables as files: every column of TRIPLETS, and of GALLERIES and CAPTIONS if there are any.

    triplets.parquet  galleries.parquet  captions.parquet

The schema and its version travel in the file. Versions before ours are read with nulls for the columns
that came since; later ones, and columns that we do not know, are FormatErrors.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facap.errors import ContractError, FormatError
from facap.schemas import CAPTIONS, GALLERIES, SPLITS, TRIPLETS, conform, schema_version
from facap.triplets.formats.names import check_category, is_path

SCHEMAS = {"galleries": GALLERIES, "captions": CAPTIONS, "triplets": TRIPLETS}
ROWS_AT_ONCE = 10_000


def files(folder: Path) -> dict[str, Path]:
    """Dataset -> file; FormatError without triplets."""
    found = {name: folder / f"{name}.parquet" for name in SCHEMAS}
    if not found["triplets"].is_file():
        raise FormatError(f"{folder} holds no triplets.parquet; is it an export in the layout parquet?")
    return {name: path for name, path in found.items() if path.is_file()}


def read(
    name: str, path: Path, splits: tuple[str, ...], categories: tuple[str, ...], max_bytes: int
) -> Iterator[pa.Table]:
    """The rows of one file that are of `splits`, a batch at a time, in the order of the file."""
    schema = SCHEMAS[name]
    try:
        with pq.ParquetFile(path, memory_map=False) as file:
            _check_head(file, schema, path, max_bytes)
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                table = conform(pa.Table.from_batches([batch]), schema)
                yield _chosen(table, splits, categories, path)
    except ContractError as error:
        raise FormatError(f"{path.name}: {error}") from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        message = " ".join(str(error).split())[:200]
        raise FormatError(f"{path.name} cannot be read as Parquet: {message}") from error


def write(folder: Path, name: str, table: pa.Table) -> None:
    """`table` as the file of dataset `name`."""
    rows = conform(table, SCHEMAS[name])
    pq.write_table(rows, folder / f"{name}.parquet", compression="zstd", row_group_size=ROWS_AT_ONCE)


def picture_file(name: str, category: str) -> str:
    """Where below the images folder a picture is written."""
    return f"{name}.jpg"


def _check_head(file: pq.ParquetFile, schema: pa.Schema, path: Path, max_bytes: int) -> None:
    size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    if size > max_bytes:
        raise FormatError(
            f"{path.name} unpacks to {size >> 20} MiB; raise imports.max_file_mib if that is right"
        )
    told = (file.schema_arrow.metadata or {}).get(b"facap.version", b"1").decode(errors="replace")
    if not told.isdecimal() or int(told) > schema_version(schema):
        raise FormatError(
            f"{path.name} is of version {told[:20]}, we read up to {schema_version(schema)}; update facap"
        )


def _chosen(table: pa.Table, splits: tuple[str, ...], categories: tuple[str, ...], path: Path) -> pa.Table:
    for category in table.column("category").unique().to_pylist():
        check_category(category, categories, path.name)
    for column in {"reference_id", "target_id", "image_id", "name"} & set(table.column_names):
        for value in table.column(column).to_pylist():
            if not (is_path(value) or (column == "target_id" and value == "")):
                raise FormatError(f"{path.name}: {column} {value[:80]!r} should be an id or a relative path")
    if "split" not in table.column_names:
        return table
    found = table.column("split").to_pylist()
    if unknown := sorted(set(found) - set(SPLITS)):
        raise FormatError(f"{path.name}: unknown split '{unknown[0][:80]}'; known: {', '.join(SPLITS)}")
    return table.filter(pa.array([split in splits for split in found], pa.bool_()))
