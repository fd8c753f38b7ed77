"""Export and import through a workspace: the same triplets come back, and an export is there whole or not."""

import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from facap.errors import ConfigError, DatasetMissing, FormatError
from facap.progress import Progress
from facap.schemas import TRIPLETS, conform, from_rows, schema_version
from facap.store import Store
from facap.triplets.formats import facap_layout, fashion_iq, reading, writing
from facap.triplets.formats.config import ExportConfig, ImportConfig
from facap.triplets.formats.entries import Entry, Part
from tests.formats_data import (
    HASHES,
    NOTHING,
    catalogue,
    files_of,
    load,
    parts_of,
    paths,
    plain_names,
    save,
    triplet,
    triplets_of,
)

TOLD = ("reference_id", "target_id", "category", "split", "modification")  # by every layout
LAYOUTS = ("fashion_iq", "facap", "parquet")


@settings(max_examples=15, deadline=None)
@given(parts_of(plain_names, targets=False, descriptions=False))
def test_any_dataset_in_fashion_iqs_layout_comes_back_byte_for_byte(parts: list[Part]):
    check_exchange(fashion_iq, "fashion_iq", parts)


@settings(max_examples=15, deadline=None)
@given(parts_of(paths, targets=True, descriptions=True))
def test_any_dataset_in_facaps_layout_comes_back_byte_for_byte(parts: list[Part]):
    check_exchange(facap_layout, "facap", parts)


def check_exchange(layout, name: str, parts: list[Part]) -> None:
    """Import, export, import: equal files, equal rows; by way of Parquet too."""
    with tempfile.TemporaryDirectory() as folder:
        given_, first, second, tables = (
            Path(folder) / step for step in ("given", "first", "second", "tables")
        )
        for part in parts:
            layout.write(given_, part)
        one, two, three = (Store(str(Path(folder) / f"workspace-{n}")) for n in (1, 2, 3))
        load(one, given_, name)
        save(one, first, name)
        assert files_of(first) == files_of(given_)
        load(two, first, name)
        assert triplets_of(two) == triplets_of(one)
        save(one, tables, "parquet")
        load(three, tables, "parquet")
        assert triplets_of(three) == triplets_of(one)
        save(three, second, name)
        assert files_of(second) == files_of(given_)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_triplets_of_a_catalogue_come_back(tmp_path: Path, layout: str):
    store = catalogue(tmp_path / "shop")
    report = save(store, tmp_path / "out", layout)
    assert (report.rows_in, report.rows_out, report.failures) == (4, 3, {"too_long": 1})
    other = Store(str(tmp_path / "other"))
    assert load(other, tmp_path / "out", layout).rows_out == 3
    usable = [row for row in triplets_of(store, *TOLD) if row["modification"]]
    assert triplets_of(other, *TOLD) == usable


def test_parquet_keeps_every_column(tmp_path: Path):
    store = catalogue(tmp_path / "shop")
    save(store, tmp_path / "out", "parquet")
    other = Store(str(tmp_path / "other"))
    load(other, tmp_path / "out", "parquet")
    assert triplets_of(other) == [row for row in triplets_of(store) if row["status"] == "ok"]


def test_an_import_that_is_there_is_reused_and_another_folder_of_the_same_content_too(tmp_path: Path):
    save(catalogue(tmp_path / "shop"), tmp_path / "one", "facap")
    (tmp_path / "one").rename(tmp_path / "two")
    store = Store(str(tmp_path / "other"))
    save(catalogue(tmp_path / "shop"), tmp_path / "one", "facap")
    assert not load(store, tmp_path / "one", "facap").reused
    assert load(store, tmp_path / "two", "facap").reused
    file = tmp_path / "two" / "cir_triplets" / "dress_train_triplets.json"
    file.write_text(file.read_text().replace("change it", "alter it"))
    assert not load(store, tmp_path / "two", "facap").reused
    assert "alter it from 0 to 1" in store.read("triplets", ["modification"])["modification"].to_pylist()


def test_only_the_splits_that_are_asked_for_go_in_and_out(tmp_path: Path):
    store = catalogue(tmp_path / "shop")
    save(store, tmp_path / "out", "fashion_iq", splits=("train",))
    assert {name.split(".")[2] for name in files_of(tmp_path / "out")} == {"train"}
    save(store, tmp_path / "all", "fashion_iq")
    other = Store(str(tmp_path / "other"))
    load(other, tmp_path / "all", "fashion_iq", splits=("test",))
    assert set(other.read("triplets", ["split"])["split"].to_pylist()) == {"test"}


def test_equal_records_of_two_splits_are_two_rows(tmp_path: Path):
    """A part is named by its keys: rows that differ only in the split replaced each other once."""
    entry = Entry(HASHES[0], HASHES[1], ("x",))
    for split in ("train", "val"):
        fashion_iq.write(tmp_path / "in", Part("dress", split, [entry, entry]))
    store = Store(str(tmp_path / "workspace"))
    assert load(store, tmp_path / "in", "fashion_iq").rows_out == 4
    for split in ("train", "val"):
        store.stage("triplets", TRIPLETS, "k").write(from_rows([triplet(0, 1, split=split)], TRIPLETS))
    assert len(store.stage("triplets", TRIPLETS, "k").parts()) == 2


def test_triplets_of_version_1_are_exported_and_read(tmp_path: Path):
    store = catalogue(tmp_path / "shop")
    save(store, tmp_path / "out", "parquet")
    file = tmp_path / "out" / "triplets.parquet"
    old = pq.read_table(file).drop_columns(["captions", "place"])
    old = old.replace_schema_metadata({b"facap.dataset": b"TRIPLETS", b"facap.version": b"1"})
    pq.write_table(old, file)
    other = Store(str(tmp_path / "other"))
    load(other, tmp_path / "out", "parquet")
    assert triplets_of(other, *TOLD) == [r for r in triplets_of(store, *TOLD) if r["modification"]]
    (part,) = other.files("triplets")
    pq.write_table(old, part)
    assert save(other, tmp_path / "again", "facap").rows_out == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([triplet(0, 1, category="hat")], "triplets.parquet: unknown category 'hat'; known: "),
        ([triplet(0, 1, split="dev")], "triplets.parquet: unknown split 'dev'; known: train, val, test"),
        ([triplet(0, 1, reference_id="../../a")], "triplets.parquet: reference_id '../../a' should be an id"),
        ([triplet(0, 1), triplet(0, 1, raw="2")], "TRIPLETS: two rows agree in reference_id, target_id, cat"),
    ],
)
def test_rows_of_a_parquet_file_are_checked(tmp_path: Path, rows: list[dict], message: str):
    table = from_rows(rows, TRIPLETS)
    pq.write_table(table, tmp_path / "triplets.parquet")
    refused(tmp_path, "parquet", message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            from_rows([triplet(0, 1)], TRIPLETS).append_column("more", [["x"]]),
            "TRIPLETS: unknown column 'more'",
        ),
        (from_rows([triplet(0, 1)], TRIPLETS).drop_columns(["split"]), "TRIPLETS: required column 'split'"),
        (
            from_rows([triplet(0, 1)], TRIPLETS).replace_schema_metadata({b"facap.version": b"99"}),
            f"is of version 99, we read up to {schema_version(TRIPLETS)}; update facap",
        ),
    ],
)
def test_a_parquet_file_of_another_schema_is_refused(tmp_path: Path, table, message: str):
    pq.write_table(table, tmp_path / "triplets.parquet")
    refused(tmp_path, "parquet", "triplets.parquet", message)


def refused(folder: Path, layout: str, *words: str, **settings: object) -> None:
    """The import fails with one sentence that has `words`, and makes no TRIPLETS."""
    store = Store(str(folder / "workspace"))
    with pytest.raises((FormatError, ConfigError)) as caught:
        load(store, folder, layout, **settings)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.manifest("triplets") is None


def test_what_is_no_parquet_is_refused(tmp_path: Path):
    refused(tmp_path, "parquet", "holds no triplets.parquet")
    (tmp_path / "triplets.parquet").write_bytes(b"PAR1 not really PAR1")
    refused(tmp_path, "parquet", "triplets.parquet cannot be read as Parquet")
    refused(tmp_path, "parquet", "goes with the layouts fashion_iq and facap", images=str(tmp_path))


def test_a_parquet_file_that_unpacks_to_more_than_the_bound_is_refused(tmp_path: Path):
    rows = [triplet(0, 1, place=place, raw=str(place) * 40) for place in range(20_000)]
    pq.write_table(from_rows(rows, TRIPLETS), tmp_path / "triplets.parquet", use_dictionary=False)
    refused(tmp_path, "parquet", "unpacks to", "raise imports.max_file_mib", max_file_mib=1)


def test_folders_that_are_missing_or_empty_are_said_so(tmp_path: Path):
    store = Store(str(tmp_path / "workspace"))
    with pytest.raises(ConfigError, match=r"imports.folder is empty; give the dataset's folder"):
        reading.run(store, ImportConfig(), Progress("import"), NOTHING)
    with pytest.raises(FormatError, match="is not a folder on this machine"):
        load(store, tmp_path / "nowhere", "facap")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cap.dress.val.json").write_text("[]")
    with pytest.raises(FormatError, match="hold no rows; there is nothing to import"):
        load(store, tmp_path / "in", "fashion_iq")


def test_a_fault_in_the_last_file_leaves_nothing_imported(tmp_path: Path):
    fashion_iq.write(tmp_path / "in", Part("dress", "val", [Entry("a", "b", ("x",))]))
    (tmp_path / "in" / "captions" / "cap.toptee.val.json").write_text("[{]")
    store = Store(str(tmp_path / "workspace"))
    with pytest.raises(FormatError, match=r"cap.toptee.val.json, line 1"):
        load(store, tmp_path / "in", "fashion_iq")
    assert store.manifest("triplets") is None and store.manifest("galleries") is None


def test_an_export_needs_triplets_with_a_text_and_a_folder_here(tmp_path: Path):
    with pytest.raises(DatasetMissing, match="TRIPLETS is not in"):
        save(Store(str(tmp_path / "nothing")), tmp_path / "out", "facap")
    store = catalogue(tmp_path / "shop")
    with pytest.raises(FormatError, match="TRIPLETS has no row with a text in val: nothing to export"):
        save(store, tmp_path / "out", "facap", splits=("val",))
    with pytest.raises(ConfigError, match=r"exports\.folder should be a folder on this machine"):
        writing.run(store, ExportConfig(folder="s3://bucket/out"), Progress("export"))
    assert not (tmp_path / "out").exists()


def test_ids_that_no_layout_can_name_are_refused_and_nothing_is_left(tmp_path: Path):
    store = catalogue(tmp_path / "shop", [triplet(0, 1, reference_id="p1-0")])
    with pytest.raises(FormatError, match="'p1-0' of category dress is neither a content hash"):
        save(store, tmp_path / "out", "facap")
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    assert save(store, tmp_path / "out", "parquet").rows_out == 1


def test_a_category_that_is_no_file_name_is_refused(tmp_path: Path):
    store = catalogue(tmp_path / "shop", [triplet(0, 1, category="../../x")])
    with pytest.raises(FormatError, match=r"'../../x' and 'train' cannot be parts of a file's name"):
        save(store, tmp_path / "out", "facap")


def test_a_catalogue_and_an_imported_dataset_do_not_mix(tmp_path: Path):
    fashion_iq.write(tmp_path / "in", Part("dress", "train", [Entry("a", "b", ("x",))], ["a", "b"]))
    store = catalogue(tmp_path / "shop")
    load(store, tmp_path / "in", "fashion_iq")
    catalogue(tmp_path / "shop")
    with pytest.raises(FormatError, match=r"which GALLERIES does not list .* need a workspace each"):
        save(store, tmp_path / "out", "fashion_iq")


def test_an_earlier_export_is_replaced_only_on_request_and_nothing_else_ever(tmp_path: Path):
    store = catalogue(tmp_path / "shop")
    out = tmp_path / "out"
    save(store, out, "facap")
    with pytest.raises(
        ConfigError, match=r"is there already; choose another exports\.folder, or set exports\.replace"
    ):
        save(store, out, "fashion_iq")
    assert (out / "cir_triplets").is_dir()
    save(store, out, "fashion_iq", replace=True)
    assert not (out / "cir_triplets").exists() and (out / "captions").is_dir()
    (out / "README.md").write_text("my own notes")
    with pytest.raises(ConfigError, match="is not an earlier export, so it is not replaced"):
        save(store, out, "fashion_iq", replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shop"]


def test_an_export_that_fails_half_way_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = catalogue(tmp_path / "shop")
    save(store, tmp_path / "out", "facap")
    before = files_of(tmp_path / "out")

    def fails(*args: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "card", fails)
    with pytest.raises(FormatError, match="out cannot be written: No space left on device"):
        save(store, tmp_path / "out", "facap", replace=True)
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shop"]


def test_settings_that_name_no_split_or_layout_are_refused():
    with pytest.raises(ValueError, match="should be one or more of train, val, test, got 'dev'"):
        ImportConfig(splits=("dev",))
    with pytest.raises(ValueError, match="'fashion_iq', 'facap' or 'parquet'"):
        ExportConfig(layout="coco")


def test_the_published_form_of_facaps_triplets_is_what_is_written(tmp_path: Path):
    save(catalogue(tmp_path / "shop"), tmp_path / "out", "facap")
    records = json.loads((tmp_path / "out" / "cir_triplets" / "top_test_triplets.json").read_text())
    assert records == [
        {"candidate": f"{HASHES[2]}.jpg", "target": f"{HASHES[3]}.jpg", "captions": ["change it from 2 to 3"]}
    ]
    assert conform(Store(str(tmp_path / "shop")).read("triplets"), TRIPLETS).num_rows == 4
