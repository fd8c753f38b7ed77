"""Answers of the version before that answer what is asked now; no engine is asked for them again.

    >>> carry_over(store, stage, Origin(config), wanted, judge.row)        # doctest: +SKIP
    3400

An answer is taken over if the same model wrote it with the same parameters to the same prompt, as this
was rendered for the row, and if it is good: it was, and it is by the limits and words of today, by which
it is judged anew. All else is asked. The picture is the same because ids are hashes of content.

A part is written whole or not at all, and what the stage has already is not wanted: done again after a
kill, this loses nothing and doubles nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from facap.annotate.engine import WRITTEN
from facap.annotate.origin import Origin
from facap.schemas import OK, from_rows, key_columns, schema_version
from facap.store import Stage, Store

Question = tuple[dict[str, Any], str]  # what the row keeps of its input, and the prompt rendered from it


def carry_over(
    store: Store,
    stage: Stage,
    origin: Origin,
    wanted: Callable[[pa.Table], list[Question | None]],
    judge: Callable[[dict[str, Any]], dict[str, Any]],
) -> int:
    """Writes to `stage` the answers of the finished version that serve again; returns how many.

    `wanted` gives for each of some earlier rows what is asked in its place now, None if nothing is;
    `judge` makes a row of an answer.
    """
    assert stage.schema is not None
    carried = 0
    for earlier in _earlier(store, stage, origin):
        rows = []
        for before, question in zip(earlier.to_pylist(), wanted(earlier), strict=True):
            if question is None or before["rendered_hash"] not in origin.hashes(question[1]):
                continue
            answer = question[0] | {name: before[name] for name in _written(stage)}
            rows.append(judge(answer | {"cut_off": False, "failure": None, "error": None}))
        good = [row for row in rows if row["status"] == OK]
        if good:
            stage.write(from_rows(good, stage.schema))
            carried += len(good)
    return carried


def _written(stage: Stage) -> list[str]:
    """The columns that an answer leaves in a row."""
    assert stage.schema is not None
    return [*WRITTEN, *({"confidence"} & set(stage.schema.names))]


def _earlier(store: Store, stage: Stage, origin: Origin) -> Iterator[pa.Table]:
    """Part by part, the good rows of the finished version that are of the same model and parameters."""
    assert stage.schema is not None
    manifest = store.manifest(stage.name)
    if manifest is None or manifest.schema_version != schema_version(stage.schema):
        return
    alike = {"model": origin.model, "params_hash": origin.params_hash, "status": OK}
    columns = [*key_columns(stage.schema), *_written(stage), *alike]
    for file in manifest.files:
        rows = store.read_file(stage.name, file, columns)
        for column, value in alike.items():
            rows = rows.filter(pc.equal(rows.column(column), value))
        if rows.num_rows:
            yield rows
