"""Texts for the study by the stages of a real run: what models write, what is made wrong, what is kept.

The real vLLM's server that tests of annotation share describes the pictures, an engine writes the texts.
"""

from pathlib import Path
from typing import Any

import pytest

from facap.annotate.config import CaptionConfig
from facap.catalog import wording
from facap.catalog.garments import changes
from facap.progress import Progress
from facap.store import Store
from facap.study import drawn
from facap.study.annotated import FROM_TAGS, WRITTEN_FROM_TAGS, Annotated, Annotators
from facap.study.corrupted_texts import is_false
from facap.train.feed import split_rows
from facap.verify.config import VerifyConfig
from tests.annotation_server import NAME, Server, asked

FAMILIES = 24


def test_annotators_are_told_apart_by_what_they_write() -> None:
    ours = Annotators()
    other = Annotators(modify=ours.modify.model_copy(update=WRITTEN_FROM_TAGS))
    slower = Annotators(modify=ours.modify.model_copy(update={"retries": ours.modify.retries}))
    assert ours.label == Annotators().label == slower.label != other.label
    tags = ours.caption.model_copy(update=FROM_TAGS)  # which does not validate: so here
    assert type(tags).model_validate(tags.model_dump()) == tags


@pytest.mark.slow
def test_texts_of_each_way_are_of_the_drawn_pairs(
    asked_server: Server, tmp_path: Path, ray_session: None
) -> None:
    fine = drawn.make(str(tmp_path / "fine"), FAMILIES, 0)
    known = drawn.garments_of(FAMILIES, 0)
    seeing: dict[str, Any] = {"model": NAME, "chat": True, "endpoint": asked(asked_server)}
    by = Annotators(caption=CaptionConfig(**seeing), verify=VerifyConfig(**seeing))
    texts = Annotated(Store(str(tmp_path)), fine, known, by)
    ways = ("two_stage", "verified", "unverified")
    rows = {way: texts.rows(way, Progress("study")).to_pylist() for way in ways}
    said = {way: {(r["reference_id"], r["target_id"]): r["modification"] for r in rows[way]} for way in ways}
    pairs = {(r["reference_id"], r["target_id"]) for r in split_rows(fine, "train").to_pylist()}
    assert said["two_stage"].keys() <= pairs and len(said["two_stage"]) > 0.9 * len(pairs)
    right = [
        wording.modification_claims(text) == changes(known[reference], known[target])
        for (reference, target), text in said["two_stage"].items()
    ]
    assert 0.6 * len(right) < sum(right) < len(right)  # by models that look, not out of what was drawn
    wrong = {pair for pair, text in said["unverified"].items() if text != said["two_stage"][pair]}
    assert len(wrong) == round(0.2 * len(right)) and said["unverified"].keys() == said["two_stage"].keys()
    assert all(is_false(said["unverified"][pair], *(known[image] for image in pair)) for pair in wrong)
    assert len(said["verified"].keys() & wrong) < 0.2 * len(wrong)
    assert len(said["verified"]) > 0.7 * len(said["unverified"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert texts.rows("verified", Progress("study")).to_pylist() == rows["verified"]  # nothing is asked again
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
