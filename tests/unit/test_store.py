"""The workspace store: atomic parts, the manifest last, failed rows tried again, equal keys reused."""

import os
import pickle
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from facap.errors import ContractError, DatasetMissing, WorkspaceError
from facap.schemas import CAPTIONS, PAIRS, from_rows
from facap.store import Stage, Store, fingerprint, stage_key


def pair(reference: str, target: str = "t") -> dict:
    return {
        "reference_id": reference,
        "target_id": target,
        "category": "dress",
        "similarity": 0.5,
        "split": "train",
    }


def caption(image: str, status: str = "ok") -> dict:
    common = dict.fromkeys(("item_id", "product_id", "model", "prompt_hash", "params_hash"), "x")
    text = "a red dress" if status == "ok" else None
    return {**common, "image_id": image, "category": "dress", "caption": text, "status": status}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "workspace"))


def ids(store: Store, name: str = "captions") -> list[str]:
    return sorted(store.read(name, ["image_id"]).column(0).to_pylist())


def test_nothing_but_a_lease_is_made_before_the_first_write(store: Store):
    assert store.manifest("pairs") is None
    assert not Path(store.root).exists()
    stage = store.stage("pairs", PAIRS, "k1")
    assert stage.finished() is None
    assert [path.name for path in Path(store.root, "pairs").iterdir()] == ["lease-k1-1.json"]
    del stage
    assert list(Path(store.root, "pairs").iterdir()) == []
    with pytest.raises(DatasetMissing, match=r"PAIRS is not in .*; run the job that makes it first"):
        store.read("pairs")


def test_rows_are_there_for_readers_only_after_the_commit(store: Store):
    stage = store.stage("pairs", PAIRS, "k1")
    stage.write(from_rows([pair("a"), pair("b")], PAIRS))
    stage.write(from_rows([pair("c")], PAIRS))
    assert store.manifest("pairs") is None
    assert stage.done("reference_id") == {"a", "b", "c"}
    manifest = stage.commit(config={"k": 1}, inputs={"captions": "f"})
    assert store.manifest("pairs") == manifest
    assert store.read("pairs").schema.equals(PAIRS)
    assert (manifest.rows, manifest.counts, manifest.schema) == (3, {"ok": 3}, "PAIRS")
    assert (manifest.config, manifest.inputs, manifest.schema_version) == ({"k": 1}, {"captions": "f"}, 1)
    assert manifest.code_version
    assert manifest.created_at
    assert [Path(f).exists() for f in store.files("pairs")] == [True, True]


def test_an_equal_key_is_finished_and_another_is_not(store: Store):
    stage = store.stage("pairs", PAIRS, "k1")
    stage.write(from_rows([pair("a")], PAIRS))
    stage.commit({}, {})
    assert store.stage("pairs", PAIRS, "k1").finished()
    other = store.stage("pairs", PAIRS, "k2")
    assert other.finished() is None
    assert other.done("reference_id") == set()
    other.write(from_rows([pair("z")], PAIRS))
    assert store.read("pairs", ["reference_id"]).column(0).to_pylist() == ["a"]  # until it commits
    other.commit({}, {})
    assert store.read("pairs", ["reference_id"]).column(0).to_pylist() == ["z"]


def test_keys_follow_config_version_and_inputs():
    key = stage_key("crawl", 1, {"a": 1, "b": 2}, {"items": "f"})
    assert key == stage_key("crawl", 1, {"b": 2, "a": 1}, {"items": "f"})
    others = [
        stage_key("annotate", 1, {"a": 1, "b": 2}, {"items": "f"}),
        stage_key("crawl", 2, {"a": 1, "b": 2}, {"items": "f"}),
        stage_key("crawl", 1, {"a": 1, "b": 3}, {"items": "f"}),
        stage_key("crawl", 1, {"a": 1, "b": 2}, {"items": "g"}),
    ]
    assert len({key, *others}) == 5
    assert len(fingerprint({})) == 12


def test_the_same_rows_written_twice_are_one_part(store: Store):
    stage = store.stage("pairs", PAIRS, "k1")
    for _ in range(2):  # Ray runs a task again whose worker died after the write
        stage.write(from_rows([pair("a"), pair("b")], PAIRS))
    assert stage.commit({}, {}).rows == 2


def test_failed_rows_are_tried_again_by_the_next_run_and_final_after_the_commit(store: Store):
    stage = store.stage("captions", CAPTIONS, "k1")
    counts = stage.write(from_rows([caption("a"), caption("b", "empty"), caption("c")], CAPTIONS))
    assert counts == {"ok": 2, "empty": 1}
    assert stage.done("image_id") == {"a", "b", "c"}

    again = store.stage("captions", CAPTIONS, "k1")  # the run was killed here
    assert again.done("image_id") == {"a", "c"}
    again.write(from_rows([caption("b", "too_long")], CAPTIONS))
    manifest = again.commit({}, {})
    assert manifest.counts == {"ok": 2, "too_long": 1}
    assert ids(store) == ["a", "b", "c"]

    assert store.stage("captions", CAPTIONS, "k1").finished()
    assert ids(store) == ["a", "b", "c"]


def test_a_row_that_failed_and_then_succeeded_is_there_once(store: Store):
    """Within one run, too: a retried task may fail the first time and succeed the second."""
    stage = store.stage("captions", CAPTIONS, "k1")
    stage.write(from_rows([caption("a", "timeout"), caption("b")], CAPTIONS))
    stage.write(from_rows([caption("a"), caption("b")], CAPTIONS))
    manifest = stage.commit({}, {})
    assert ids(store) == ["a", "b"]
    assert manifest.counts == {"ok": 2}


def test_rows_written_again_in_other_parts_are_dropped_by_the_commit(store: Store):
    """A worker that outlives a killed run writes rows that the next run has taken up."""
    stage = store.stage("pairs", PAIRS, "k1")
    stage.write(from_rows([pair("a"), pair("b"), pair("c")], PAIRS))
    stage.write(from_rows([pair("c"), pair("d")], PAIRS))
    stage.write(from_rows([pair("a", "another target"), pair("b")], PAIRS))
    stage.write(from_rows([pair("d")], PAIRS))
    assert stage.commit({}, {}).rows == 5
    rows = store.read("pairs").select(["reference_id", "target_id"]).to_pylist()
    assert sorted((r["reference_id"], r["target_id"]) for r in rows) == [
        ("a", "another target"),
        ("a", "t"),
        ("b", "t"),
        ("c", "t"),
        ("d", "t"),
    ]


def test_half_written_files_are_no_parts(store: Store):
    stage = store.stage("pairs", PAIRS, "k1")
    stage.write(from_rows([pair("a")], PAIRS))
    Path(stage.folder, "part-0.parquet.0123.tmp").write_bytes(b"PAR1 half of it")
    assert stage.done("reference_id") == {"a"}
    assert stage.commit({}, {}).rows == 1


def test_a_dataset_of_no_rows_is_not_committed(store: Store):
    with pytest.raises(ContractError, match="PAIRS: refusing to commit a dataset of no rows"):
        store.stage("pairs", PAIRS, "k1").commit({}, {})
    assert store.manifest("pairs") is None


def test_workers_write_through_a_pickled_stage(store: Store):
    stage = pickle.loads(pickle.dumps(store.stage("pairs", PAIRS, "k1")))
    assert isinstance(stage, Stage)
    stage.write(from_rows([pair("a")], PAIRS))
    assert store.stage("pairs", PAIRS, "k1").done("reference_id") == {"a"}


def test_unpickling_a_stage_in_a_worker_drops_no_failures_of_the_running_one(store: Store):
    stage = store.stage("captions", CAPTIONS, "k1")
    stage.write(from_rows([caption("a", "timeout")], CAPTIONS))
    assert pickle.loads(pickle.dumps(stage)).done("image_id") == {"a"}


def test_replace_changes_one_part_and_holds_it_to_the_schema(store: Store):
    stage = store.stage("captions", CAPTIONS, "k1")
    stage.write(from_rows([caption("a")], CAPTIONS))
    (part,) = stage.parts()
    stage.replace(part, from_rows([{**caption("a"), "caption": "a blue dress"}], CAPTIONS))
    assert stage.read(["caption"]).column(0).to_pylist() == ["a blue dress"]
    with pytest.raises(ContractError):
        stage.replace(part, from_rows([pair("a")], PAIRS))


def test_an_artefact_is_any_files_below_its_folder(store: Store):
    stage = store.stage("model", None, "k1")
    os.makedirs(stage.folder)
    Path(stage.folder, "config.json").write_text("{}")
    stage.commit({}, {}, files=["config.json"], extra={"dim": 64})
    manifest = store.require("model")
    assert (manifest.files, manifest.extra, manifest.schema) == (["data-k1/config.json"], {"dim": 64}, None)
    assert store.folder("model") == stage.folder
    assert store.files("model") == [f"{stage.folder}/config.json"]


def test_the_fingerprint_follows_the_content(store: Store):
    prints = set()
    for key, row in (("k1", pair("a")), ("k2", pair("b"))):
        stage = store.stage("pairs", PAIRS, key)
        stage.write(from_rows([row], PAIRS))
        stage.commit({}, {})
        prints.add(store.fingerprint("pairs"))
    assert len(prints) == 2


def test_a_damaged_manifest_is_said_and_not_taken_for_none(store: Store):
    Path(store.root, "pairs").mkdir(parents=True)
    Path(store.root, "pairs", "manifest.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"pairs/manifest.json cannot be read"):
        store.manifest("pairs")


def test_a_workspace_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"cannot be written .*--workspace"):
        Store(str(tmp_path / "file" / "workspace")).check_writable()
    with pytest.raises(WorkspaceError, match="neither a path nor a URI"):
        Store("ftp://example/bucket")
    Store(str(tmp_path / "good")).check_writable()
    assert list((tmp_path / "good").iterdir()) == []


def test_relative_and_absolute_paths_name_the_same_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert Store("w").root == Store(str(tmp_path / "w")).root
    assert Store("w").is_local
    assert Store("w").path("pairs", "x") == str(tmp_path / "w" / "pairs" / "x")


def test_a_writer_killed_at_any_moment_leaves_whole_parts_only(store: Store):
    """SIGKILL in the middle of writing: what is listed is readable, and a resumed run completes it."""
    script = f"""
        from facap.schemas import PAIRS, from_rows
        from facap.store import Store
        stage = Store({store.root!r}).stage("pairs", PAIRS, "k1")
        for i in range(10_000):
            row = dict(target_id="t", category="dress", similarity=0.5, split="train")
            stage.write(from_rows([row | dict(reference_id=f"{{i}}-{{j}}") for j in range(200)], PAIRS))
            print(i, flush=True)
    """
    for stop_after in (2, 5):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= stop_after:
                    writer.kill()
        stage = store.stage("pairs", PAIRS, "k1")
        done = stage.done("reference_id")
        assert len(done) >= 200 * (stop_after + 1)
        assert len(done) == stage.read(["reference_id"]).num_rows
        assert len(done) % 200 == 0
        del stage  # and the lease, which the next writer has to get
    assert store.stage("pairs", PAIRS, "k1").commit({}, {}, expected=len(done)).counts == {"ok": len(done)}


def test_what_a_worker_writes_after_the_commit_began_is_not_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A worker may outlive its killed driver and write rows that the next run has taken up."""
    stage = Store(str(tmp_path)).stage("pairs", PAIRS, "k")
    rows = [pair(letter) for letter in "abcdef"]
    stage.write(from_rows(rows, PAIRS))
    look = stage.drop_repeated

    def late() -> tuple[list[str], Counter]:
        found = look()
        stage.write(from_rows(rows[:3], PAIRS))
        return found

    monkeypatch.setattr(stage, "drop_repeated", late)
    assert stage.commit({}, {}).rows == 6
    assert stage.store.read("pairs").num_rows == 6 and stage.read().num_rows == 9
