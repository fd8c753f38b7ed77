"""Parts of a stage -> Ray Data -> parts of a stage: workers read and write whole parts.

    >>> counts = write_rows(rows.map_batches(fetch), stage, total=1000, progress=progress)  # doctest: +SKIP
    Counter({'ok': 970, 'http_404': 30})

The driver hears only the counts.
A part is there whole or not at all, so a kill at any moment loses at most the blocks in flight.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from facap.progress import Progress
from facap.store import Stage, Store

if TYPE_CHECKING:
    from ray.data import Dataset


class _ReadParts:
    def __init__(self, root: str, name: str, columns: list[str]) -> None:
        self.root, self.name, self.columns = root, name, columns

    def __call__(self, batch: pa.Table) -> pa.Table:
        (file,) = batch.column("file").to_pylist()
        return Store(self.root).read_file(self.name, file, self.columns)


def read_parts(store: Store, name: str, columns: list[str]) -> "Dataset":
    """Some columns of the finished dataset `name`, a block for each of its parts.

    A part is read by the worker that uses it, so as many work as there are. `ray.data.read_parquet`
    groups small files: of 60 parts it made one task, and one of two actors had nothing to do.
    """
    import ray.data

    files = [pa.table({"file": [file]}) for file in store.require(name).files]
    return ray.data.from_arrow(files).map_batches(
        _ReadParts(store.root, name, columns), batch_format="pyarrow", batch_size=None
    )


class _WriteParts:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __call__(self, batch: pa.Table) -> pa.Table:
        counts = self.stage.write(batch)
        return pa.table({"status": list(counts), "rows": list(counts.values())})


def write_rows(
    rows: "Dataset",
    stage: Stage,
    total: int,
    progress: Progress,
    rows_per_part: int = 256,
    check: Callable[[Mapping[str, int]], None] | None = None,
) -> Counter:
    """Writes every row of `rows` to `stage`; returns rows by status of this call.

    `total` counts the rows of the whole stage, those of an earlier run included; progress
    starts from what is there. `rows_per_part` bounds what a kill can lose.
    `check` is told after every part how many rows of each status there are, those of an earlier run included;
    what it raises ends the work on `rows`, and what was written stays.
    """
    before = stage.statuses()
    counts: Counter = Counter()
    progress.update(before.total(), total)
    if check is not None:
        check(before)
    written = rows.map_batches(
        _WriteParts(stage), batch_format="pyarrow", batch_size=rows_per_part, zero_copy_batch=True
    )
    # Closing the iterator ends Ray Data's tasks and actors; else they live until it is garbage.
    with contextlib.closing(iter(written.iter_rows())) as results:  # type: ignore[type-var]
        for row in results:
            counts[row["status"]] += row["rows"]
            progress.update(before.total() + counts.total(), total)
            if check is not None:
                check(before + counts)
    return counts
