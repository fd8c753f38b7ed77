"""A folder of pictures becomes IMAGES: one row a listed image, whatever its file holds; and out again."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from facap.crawl.config import CrawlConfig
from facap.errors import ConfigError, FormatError, StageFailed
from facap.model.preprocess import decode
from facap.schemas import IMAGES, TRIPLETS, conform, from_rows
from facap.splits import split_of
from facap.store import Store
from facap.triplets.formats import facap_layout, fashion_iq
from facap.triplets.formats.entries import Entry, Part
from facap.triplets.formats.pictures import named
from jobs.import_triplets import decoder
from tests.formats_data import load, save

NAMES = [f"B00{number}" for number in range(6)]
SECOND = ["B000", "B006"]  # B000 is in both lists


def picture(shade: int, kind: str = "JPEG", side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (shade % 256, 40, 90)).save(out, kind)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two lists; B002 lies in its category's folder as PNG, B003 is as B001, B004 is broken, B005 missing."""
    entries = [Entry("B000", "B001", ("is red", "longer")), Entry("B001", "B005", ("is red", ""))]
    fashion_iq.write(tmp_path, Part("shirt", "val", entries, NAMES))
    fashion_iq.write(tmp_path, Part("toptee", "val", [Entry("B000", "B006", ("x", "y"))], SECOND))
    images = tmp_path / "images"
    (images / "shirt").mkdir(parents=True)
    (images / "B000.jpg").write_bytes(picture(10))
    (images / "B001.jpg").write_bytes(picture(90))
    (images / "shirt" / "B002.png").write_bytes(picture(150, "PNG"))
    (images / "B003.jpeg").write_bytes(picture(90))
    (images / "B004.jpg").write_bytes(picture(200)[:300])
    (images / "B006.jpg").write_bytes(picture(250))
    return tmp_path


def bring(store: Store, folder: Path, layout: str = "fashion_iq", **settings: object):
    settings = {"max_failure_rate": 0.5, "images": str(folder / "images"), "batch_size": 2} | settings
    return load(store, folder, layout, decoder(CrawlConfig()), **settings)


@pytest.fixture
def store(folder: Path) -> Store:
    store = Store(str(folder / "workspace"))
    bring(store, folder)
    return store


def test_every_listed_image_is_a_row_with_a_status(store: Store):
    table = store.read("images")
    assert conform(table, IMAGES).num_rows == len(NAMES) + len(SECOND)
    rows = {(row["category"], row["url"]): row for row in table.to_pylist()}
    statuses = {key: row["status"] for key, row in rows.items()}
    assert statuses == {
        ("shirt", "B000.jpg"): "ok",
        ("shirt", "B001.jpg"): "ok",
        ("shirt", "shirt/B002.png"): "ok",
        ("shirt", "B003.jpeg"): "ok",
        ("shirt", "B004.jpg"): "truncated",
        ("shirt", "B005"): "no_file",
        ("toptee", "B000.jpg"): "ok",
        ("toptee", "B006.jpg"): "ok",
    }
    for row in rows.values():
        assert (row["error"] is None) == (row["bytes"] is not None) == (row["status"] == "ok")
        assert row["duplicate_of"] is None
        assert split_of(row["product_id"]) == "val"
    assert len({row["product_id"] for row in rows.values()}) == len(rows)


def test_one_picture_under_two_names_is_two_images_of_equal_pixels(store: Store):
    kept = [row for row in store.read("images").to_pylist() if row["status"] == "ok"]
    assert len({row["image_id"] for row in kept}) == len(kept) == 6
    by = {(row["category"], row["url"]): row["bytes"] for row in kept}
    for one, other in (
        (("shirt", "B000.jpg"), ("toptee", "B000.jpg")),
        (("shirt", "B001.jpg"), ("shirt", "B003.jpeg")),
    ):
        assert by[one] != by[other]
        assert decode(by[one]).tobytes() == decode(by[other]).tobytes()


def test_lists_and_triplets_name_the_pictures(store: Store):
    ids = {(r["category"], r["name"]): r["image_id"] for r in store.read("galleries").to_pylist()}
    images = set(store.read("images", ["image_id"])["image_id"].to_pylist())
    assert ids["shirt", "B005"] == "shirt/B005"
    assert ids["shirt", "B000"] in images and ids["shirt", "B000"] != ids["toptee", "B000"]
    rows = {(r["category"], r["place"]): r for r in store.read("triplets").to_pylist()}
    assert rows["shirt", 0]["reference_id"] == ids["shirt", "B000"]
    assert rows["shirt", 0]["target_id"] == ids["shirt", "B001"]
    assert Counter(row["status"] for row in rows.values()) == {"ok": 2, "no_picture": 1}
    assert rows["shirt", 1]["error"] == "no usable picture of 'B005' was given"


def test_texts_made_for_the_pictures_go_out_under_the_datasets_names(store: Store, tmp_path: Path):
    kept = [row for row in store.read("images").to_pylist() if row["status"] == "ok"]
    shirts = [row["image_id"] for row in kept if row["category"] == "shirt"]
    made_by = {"model": "m", "prompt_hash": "p", "params_hash": "s", "status": "ok", "split": "val"}
    rows = [
        made_by | {"reference_id": a, "target_id": b, "category": "shirt", "modification": "make it longer"}
        for a, b in zip(shirts, shirts[1:] + shirts[:1], strict=True)
    ]
    stage = store.stage("triplets", TRIPLETS, "as the modify stage leaves it")
    stage.write(from_rows(rows, TRIPLETS))
    stage.commit(config={}, inputs={})
    save(store, tmp_path / "out", "fashion_iq")
    records = json.loads((tmp_path / "out" / "captions" / "cap.shirt.val.json").read_text())
    assert {record["candidate"] for record in records} == {"B000", "B001", "B002", "B003"}
    assert {record["target"] for record in records} == {"B000", "B001", "B002", "B003"}
    assert "| shirt | val | 4 | 4 | 4 | 4 | 6 |" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "captions" / "cap.toptee.val.json").exists()


def test_the_original_texts_come_back_whatever_became_of_the_pictures(
    store: Store, folder: Path, tmp_path: Path
):
    save(store, tmp_path / "out", "fashion_iq")
    for name in ("captions/cap.shirt.val.json", "image_splits/split.toptee.val.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("layout", ["fashion_iq", "facap"])
def test_exported_pictures_come_back_under_the_same_ids(store: Store, tmp_path: Path, layout: str):
    out, other = tmp_path / "out", Store(str(tmp_path / "other"))
    save(store, out, layout, pictures=True)
    bring(other, out, layout)
    kept = {row["image_id"]: row["bytes"] for row in store.read("images").to_pylist() if row["bytes"]}
    again = {row["image_id"]: row["bytes"] for row in other.read("images").to_pylist() if row["bytes"]}
    assert again.items() <= kept.items()
    assert len(again) == {"fashion_iq": 6, "facap": 4}[layout]  # without lists only what a triplet names


def test_pictures_of_a_catalogue_keep_their_ids(tmp_path: Path):
    outcome = decoder(CrawlConfig()).outcome
    pictures = [outcome(picture(10)), outcome(picture(200))]
    a, b = (found["image_id"] for found in pictures)
    facap_layout.write(tmp_path, Part("dress", "train", [Entry(a, b, ("x",)), Entry(b, a, ("y",))]))
    (tmp_path / "images").mkdir()
    for found in pictures:
        (tmp_path / "images" / f"{found['image_id']}.jpg").write_bytes(found["bytes"])
    store = Store(str(tmp_path / "workspace"))
    bring(store, tmp_path, "facap")
    assert set(store.read("images", ["image_id"])["image_id"].to_pylist()) == {a, b}
    assert set(store.read("triplets", ["reference_id"])["reference_id"].to_pylist()) == {a, b}


def test_an_import_goes_on_where_it_was_stopped(folder: Path):
    store = Store(str(folder / "workspace"))
    with pytest.raises(
        StageFailed, match=r"import: 2 of 8 rows failed .*1 truncated.*max_failure_rate allows"
    ):
        bring(store, folder, max_failure_rate=0.1)
    assert store.manifest("images") is None and store.manifest("triplets") is None
    (folder / "images" / "B005.jpg").write_bytes(picture(33))
    assert not bring(store, folder).reused
    assert bring(store, folder).reused
    assert Counter(store.read("images", ["status"])["status"].to_pylist()) == {"ok": 7, "truncated": 1}


def test_files_that_are_too_large_or_no_files_are_rows(folder: Path):
    store = Store(str(folder / "workspace"))
    (folder / "images" / "B001.jpg").unlink()
    (folder / "images" / "B001.jpg").mkdir()
    (folder / "images" / "B003.jpeg").write_bytes(b"\xff" * 30_000)
    limits = decoder(CrawlConfig(max_bytes=20_000))
    load(store, folder, "fashion_iq", limits, images=str(folder / "images"), max_failure_rate=1.0)
    statuses = {row["url"]: row["status"] for row in store.read("images", ["url", "status"]).to_pylist()}
    assert (statuses["B001"], statuses["B003.jpeg"]) == ("no_file", "too_large")


def test_a_missing_images_folder_is_said(folder: Path):
    with pytest.raises(FormatError, match=r"imports.images '.*nowhere' is not a folder on this machine"):
        bring(Store(str(folder / "workspace")), folder, images=str(folder / "nowhere"))
    with pytest.raises(ConfigError, match="not with parquet"):
        (folder / "triplets.parquet").touch()
        bring(Store(str(folder / "workspace")), folder, "parquet")


@pytest.mark.parametrize("data", [picture(10), picture(10)[:2] + picture(10)[20:]])
def test_a_name_in_a_picture_touches_no_pixel_and_the_decoder_takes_it_out_again(data: bytes):
    once = named(data, "shirt/val/B000")
    assert b"facap:shirt/val/B000" in once and once != named(data, "toptee/val/B000")
    assert decode(once).tobytes() == decode(data).tobytes()
    assert decoder(CrawlConfig()).outcome(once)["bytes"] == data


@pytest.mark.parametrize("ending", [".JPG", ".jpG", ".JPEG", ".PNG", ".WEBP"])
@pytest.mark.parametrize("below", ["", "shirt/"])
def test_endings_in_capitals_are_found(folder: Path, ending: str, below: str):
    kind = {"PNG": "PNG", "WEBP": "WEBP"}.get(ending[1:], "JPEG")
    (folder / "images" / f"{below}B005{ending}").write_bytes(picture(33, kind))
    (folder / "images" / f"{below}b005.jpg").write_bytes(b"another name")
    store = Store(str(folder / "workspace"))
    bring(store, folder)
    rows = {row["url"]: row["status"] for row in store.read("images").to_pylist()}
    assert rows[f"{below}B005{ending}"] == "ok" and "B005" not in rows


def test_a_path_that_is_written_in_the_other_case_is_found_and_the_very_name_goes_first(tmp_path: Path):
    entries = [Entry("a/1.jpg", "a/2.JPG", ("x",)), Entry("a/3.Png", "a/4", ("y",))]
    facap_layout.write(tmp_path, Part("dress", "train", entries))
    (tmp_path / "images" / "a").mkdir(parents=True)
    for name, shade in (("1.JPG", 10), ("2.jpg", 50), ("2.JPG", 90), ("3.pnG", 130), ("4.jpg", 170)):
        (tmp_path / "images" / "a" / name).write_bytes(picture(shade))
    store = Store(str(tmp_path / "workspace"))
    bring(store, tmp_path, "facap")
    found = {row["url"]: row["status"] for row in store.read("images").to_pylist()}
    assert found == {"a/1.JPG": "ok", "a/2.JPG": "ok", "a/3.pnG": "ok", "a/4": "no_file"}
