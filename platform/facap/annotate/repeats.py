"""A text that many pairs share says little about any of them: beyond a limit such rows are failures.

    >>> limit(stage, most=20)                                        # doctest: +SKIP
    35

Which of the rows stay is told by a hash of their ids, so it is the same in every run.
"""

import hashlib
from collections import Counter

import pyarrow as pa

from facap.schemas import OK
from facap.store import Stage

STATUS = "duplicate_text"
_COLUMNS = ["reference_id", "target_id", "modification", "status"]


def limit(stage: Stage, most: int) -> int:
    """Makes failures of the rows beyond the first `most` of a text; returns how many. 0: no limit.

    Of each part first the failures are written, then the rest: a kill between leaves both, and the next run,
    which asks for failed rows again, comes to the same end.
    """
    if not most:
        return 0
    rows = [row for row in stage.read(_COLUMNS).to_pylist() if row["status"] == OK]
    seen: Counter[str] = Counter()
    surplus: set[tuple[str, str]] = set()
    for row in sorted(rows, key=_order):
        text = " ".join(row["modification"].lower().split())
        seen[text] += 1
        if seen[text] > most:
            surplus.add((row["reference_id"], row["target_id"]))
    for part in stage.parts("part-") if surplus else []:
        table = stage.read_part(part)
        ids = zip(*(table.column(name).to_pylist() for name in _COLUMNS[:2]), strict=True)
        is_surplus = [pair in surplus for pair in ids]
        if any(is_surplus):
            stage.write(_failed(table.filter(pa.array(is_surplus)), most))
            stage.replace(part, table.filter(pa.array([not one for one in is_surplus])))
    return len(surplus)


def _order(row: dict[str, str]) -> bytes:
    return hashlib.sha256(f"{row['reference_id']}>{row['target_id']}".encode()).digest()


def _failed(rows: pa.Table, most: int) -> pa.Table:
    nothing = pa.nulls(rows.num_rows, pa.string())
    values = {
        "modification": nothing,
        "status": nothing.fill_null(STATUS),
        "error": nothing.fill_null(f"more than {most} pairs (max_same_text) have this text"),
    }
    for name, column in values.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows
