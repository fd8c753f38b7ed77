"""The official Fashion IQ files: they come back byte for byte, and what they hold is counted here."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest

from facap.schemas import TRIPLETS, from_rows
from facap.store import Store
from facap.triplets.formats.entries import captions_of
from tests.formats_data import files_of, load, save

CATEGORIES = ("dress", "shirt", "toptee")
RECORDS = {"train": (5985, 5988, 6027), "val": (2017, 2038, 1961), "test": (2024, 2038, 2056)}
LISTED = {"train": (11452, 19036, 16121), "val": (3817, 6346, 5373), "test": (3818, 6346, 5374)}


@pytest.fixture(scope="module")
def official(shared_dir: Path) -> Path:
    return shared_dir / "fashion-iq"


@pytest.fixture(scope="module")
def store(official: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("fashion-iq") / "workspace"))
    report = load(store, official, "fashion_iq", name="fashion-iq")
    assert (report.rows_in, report.failures) == (30_134, {"no_target": 6118})
    return store


def test_the_official_files_come_back_byte_for_byte(store: Store, official: Path, tmp_path: Path):
    save(store, tmp_path / "out", "fashion_iq", licence="CDLA")
    given = {name: data for name, data in files_of(official).items() if name.endswith(".json")}
    assert len(given) == 18
    exported = files_of(tmp_path / "out")
    assert {n: json.loads(d) for n, d in exported.items()} == {n: json.loads(d) for n, d in given.items()}
    assert exported == given


def test_by_way_of_parquet_they_are_the_same(store: Store, official: Path, tmp_path: Path):
    save(store, tmp_path / "tables", "parquet", splits=("val",))
    other = Store(str(tmp_path / "workspace"))
    load(other, tmp_path / "tables", "parquet")
    save(other, tmp_path / "out", "fashion_iq")
    exported = files_of(tmp_path / "out")
    assert len(exported) == 6
    assert exported == {name: (official / name).read_bytes() for name in exported}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_counts_of_records_and_listed_images(store: Store, split: str):
    for dataset, expected in (("triplets", RECORDS), ("galleries", LISTED)):
        rows = store.read(dataset, ["category", "split"])
        rows = rows.filter(pc.equal(rows["split"], split))
        counts = Counter(rows["category"].to_pylist())
        assert tuple(counts[category] for category in CATEGORIES) == expected[split]


def test_the_texts_and_what_is_missing(store: Store):
    rows = store.read("triplets").to_pylist()
    assert {len(row["captions"]) for row in rows} == {2}
    assert sum(text == "" for row in rows for text in captions_of(row)) == 16
    assert all(row["modification"] for row in rows)
    assert all((row["target_id"] == "") == (row["split"] == "test") for row in rows)
    first = next(r for r in rows if (r["category"], r["split"], r["place"]) == ("dress", "train", 0))
    assert (first["reference_id"], first["target_id"]) == ("dress/B003FGW7MK", "dress/B008BHCT58")
    assert first["modification"] == "Is solid black with no sleeves and is black with straps"


def test_images_that_two_val_lists_share_stay_two(store: Store):
    """121 images are in shirt's and in toptee's list; 15,536 entries are 15,415 images."""
    rows = store.read("galleries", ["split", "name", "image_id"])
    rows = rows.filter(pc.equal(rows["split"], "val"))
    assert len(set(rows["image_id"].to_pylist())) == rows.num_rows == 15_536
    assert len(set(rows["name"].to_pylist())) == 15_536 - 121


def test_one_triplet_an_image_makes_the_papers_counts(official: Path, tmp_path: Path):
    """enhFashionIQ has as many triplets as the val lists have images: 3,817, 6,346 and 5,373."""
    store = Store(str(tmp_path / "workspace"))
    load(store, official, "fashion_iq", splits=("val",))
    listed = store.read("galleries").to_pylist()
    ids = {c: [row["image_id"] for row in listed if row["category"] == c] for c in CATEGORIES}
    made_by = {"model": "m", "prompt_hash": "p", "params_hash": "s", "status": "ok", "split": "val"}
    rows = [
        made_by | {"reference_id": a, "target_id": b, "category": category, "modification": f"like {b}"}
        for category, images in ids.items()
        for a, b in zip(images, [*images[1:], images[0]], strict=True)
    ]
    stage = store.stage("triplets", TRIPLETS, "as the modify stage leaves it")
    stage.write(from_rows(rows, TRIPLETS))
    stage.commit(config={}, inputs={})
    save(store, tmp_path / "out", "fashion_iq")
    counts = []
    for category in CATEGORIES:
        records = json.loads((tmp_path / "out" / "captions" / f"cap.{category}.val.json").read_text())
        images = json.loads((official / "image_splits" / f"split.{category}.val.json").read_text())
        assert {record["candidate"] for record in records} == set(images)
        assert list(records[0]) == ["target", "candidate", "captions"]
        assert all(record["captions"] == [f"like {category}/{record['target']}"] for record in records)
        counts.append(len(records))
    assert counts == [3817, 6346, 5373]
