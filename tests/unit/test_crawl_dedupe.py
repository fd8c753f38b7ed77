"""The representative of equal pictures is the smallest item_id, whatever the order and the history."""

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from facap.crawl.dedupe import duplicates, mark_duplicates
from facap.schemas import IMAGES, from_rows
from facap.store import Stage, Store


def row(item: str, image: str | None, status: str = "ok", **more: object) -> dict:
    return {
        "item_id": item,
        "image_id": image,
        "product_id": "p",
        "category": "top",
        "url": "http://a.example",
        "status": status,
        "bytes": image.encode() if image else None,
        "fetched_at": datetime.now(UTC),
        **more,
    }


def state(stage: Stage) -> dict[str, str | None]:
    return {r["item_id"]: r["duplicate_of"] for r in stage.read().to_pylist()}


@given(st.dictionaries(st.text(max_size=4), st.sampled_from("xyz")))
@settings(deadline=None)
def test_one_of_each_picture_remains_and_it_is_the_first(image_ids: dict[str, str]) -> None:
    found = duplicates(image_ids)
    kept = set(image_ids) - set(found)
    assert {image_ids[k] for k in kept} == set(image_ids.values()) and len(kept) == len(
        set(image_ids.values())
    )
    assert all(first in kept and first < item for item, first in found.items())


def test_marks_are_written_once_and_corrected_later(tmp_path: Path) -> None:
    stage = Store(str(tmp_path)).stage("images", IMAGES, "k")
    stage.write(from_rows([row("b", "x"), row("c", "y")], IMAGES))
    stage.write(from_rows([row("d", "x"), row("e", None, "http_404")], IMAGES))
    assert mark_duplicates(stage) == 1
    assert state(stage) == {"b": None, "c": None, "d": "b", "e": None}
    before = [Path(stage.folder, p).stat().st_mtime_ns for p in stage.parts()]
    assert mark_duplicates(stage) == 1
    assert before == [Path(stage.folder, p).stat().st_mtime_ns for p in stage.parts()]
    stage.write(from_rows([row("a", "x")], IMAGES))
    assert mark_duplicates(stage) == 2
    assert state(stage) == {"a": None, "b": "a", "c": None, "d": "a", "e": None}
    assert all(r["bytes"] for r in stage.read().to_pylist() if r["status"] == "ok")
