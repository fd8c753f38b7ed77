"""Rows beyond the limit of one text become failures, and a kill half-way changes nothing of the end."""

from collections import Counter
from pathlib import Path

import pytest

from facap.annotate import repeats
from facap.schemas import TRIPLETS, from_rows
from facap.store import Stage, Store


def triplet(number: int, text: str | None, status: str = "ok") -> dict:
    made = {"model": "m", "prompt_hash": "p", "params_hash": "q", "category": "top", "split": "val"}
    ids = {"reference_id": f"{number:032x}", "target_id": f"{number + 100:032x}"}
    return ids | made | {"modification": text, "status": status}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Ten pairs of one text in two parts, two of another, one without."""
    stage = Store(str(tmp_path)).stage("triplets", TRIPLETS, "key")
    same = [triplet(n, "Make it navy" if n % 2 else "make it  navy") for n in range(10)]
    for start in (0, 6):
        stage.write(from_rows(same[start : start + 6], TRIPLETS))
    stage.write(
        from_rows([triplet(20, "in red"), triplet(21, "in red"), triplet(22, None, "empty")], TRIPLETS)
    )
    return stage


def rows_of(stage: Stage) -> dict[str, dict]:
    return {row["reference_id"]: row for row in stage.read().to_pylist()}


def test_a_text_stays_as_often_as_it_may(stage: Stage) -> None:
    assert repeats.limit(stage, 3) == 7
    rows = rows_of(stage)
    assert len(rows) == 13 == stage.read().num_rows
    assert Counter(row["status"] for row in rows.values()) == {"ok": 5, "duplicate_text": 7, "empty": 1}
    failed = [row for row in rows.values() if row["status"] == "duplicate_text"]
    assert all(row["modification"] is None and "max_same_text" in row["error"] for row in failed)
    assert repeats.limit(stage, 3) == 0  # once more changes nothing
    assert rows_of(stage) == rows


def test_no_limit_touches_nothing(stage: Stage) -> None:
    before = rows_of(stage)
    assert repeats.limit(stage, 0) == 0 and repeats.limit(stage, 10) == 0 and rows_of(stage) == before


def test_killed_before_the_parts_are_written_it_comes_to_the_same_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Stage, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            repeats.limit(stage, 3)
    stage.drop_failed()  # as the next run does, which asks for failed rows again
    stage.write(from_rows([triplet(22, None, "empty")], TRIPLETS))
    assert repeats.limit(stage, 3) == 7
    counts = stage.commit({}, {}).counts
    assert counts == {"ok": 5, "duplicate_text": 7, "empty": 1}
