"""Cleaning a workspace that stages made: what something refers to stays, and nothing outside is touched."""

import io
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.clean import registered
from facap.clean.config import CleanConfig
from facap.clean.entries import LAST_FILE, TRAIN_RUN, Workspace
from facap.clean.pipeline import clean
from facap.clean.registered import Registered
from facap.errors import ConfigError, FacapError, WorkspaceError
from facap.index.build import IndexMetadata
from facap.lease import Holder
from facap.schemas import CAPTIONS, PAIRS, from_rows
from facap.store import Stage, Store, fingerprint
from facap.tracking import open_client
from facap.train.pipeline import run_name
from jobs.clean_workspace import clean_workspace
from jobs.job_settings import load_settings
from tests.unit.test_store import caption, pair

ROOT = Path(__file__).resolve().parents[2]
DAYS = 86_400.0
REMOVE = CleanConfig(remove=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "workspace"))


def dataset(store: Store, number: int, name: str = "pairs", finish: bool = True) -> Stage:
    """A version of a dataset, finished last or not."""
    stage = store.stage(name, PAIRS, fingerprint([name, number]))
    stage.write(from_rows([pair(f"r{number}-{n}") for n in range(3)], PAIRS))
    if finish:
        stage.commit({}, {}, expected=3)
    return stage


def artefact(store: Store, name: str, number: int, texts: dict[str, str], finish: bool = True) -> Stage:
    stage = store.stage(name, None, fingerprint([name, number]))
    Path(stage.folder).mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        Path(stage.folder, file).write_text(text)
    if finish:
        stage.commit({}, {}, files=texts)
    return stage


def grow_old(path: str | Path, days: float) -> None:
    """As if nothing below `path` had been written for so long."""
    then = time.time() - days * DAYS
    for folder, _, files in os.walk(path):
        for name in [*files, ""]:
            if not os.path.islink(os.path.join(folder, name)):
                os.utime(os.path.join(folder, name), (then, then))


def told_by(store: Store, config: CleanConfig, models: Registered | None = None) -> dict[str, str]:
    """path -> "stays" or "goes" with the reason."""
    verdicts = clean(store, config, models or Registered(), "", lambda text: None)
    return {v.entry.path: ("stays: " if v.stays else "goes: ") + v.why for v in verdicts}


def left(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in Path(store.root).rglob("*"))


def versions(store: Store, name: str = "pairs") -> set[str]:
    return {path.name.removeprefix("data-") for path in Path(store.root, name).glob("data-*")}


def test_a_dry_run_says_name_key_size_age_and_why_and_removes_nothing(store: Store):
    old, new = dataset(store, 1), dataset(store, 2)
    grow_old(old.folder, 12)
    before = left(store)
    said: list[str] = []
    clean(store, CleanConfig(), Registered(), "", said.append)
    assert left(store) == before
    goes = next(text for text in said if text.startswith("goes"))
    assert f"pairs/data-{old.key}" in goes and "KiB" in goes and " 12.0 d" in goes
    assert goes.endswith("not the finished version, and nothing refers to it")
    stays = next(text for text in said if text.startswith("stays"))
    assert f"pairs/data-{new.key}" in stays and stays.endswith("the finished version")
    assert "in 1 places may go; --clean.remove true removes them" in said[-1]


def test_old_versions_go_and_the_finished_one_is_read_as_before(store: Store):
    stages = [dataset(store, number) for number in range(4)]
    for stage in stages:
        grow_old(stage.folder, 30)
    rows = store.read("pairs").to_pylist()
    told_by(store, REMOVE)
    assert versions(store) == {stages[-1].key}
    assert store.read("pairs").to_pylist() == rows
    assert [verdict[:5] for verdict in told_by(store, REMOVE).values()] == ["stays"]


def test_an_unfinished_version_stays_as_long_as_it_may_be_resumed(store: Store):
    dataset(store, 1)
    half = dataset(store, 2, finish=False)
    key, folder = half.key, half.folder
    del half
    grow_old(folder, 6)
    assert told_by(store, REMOVE)[f"pairs/data-{key}"] == "stays: changed within clean.keep_days (7)"
    assert told_by(store, CleanConfig(keep_days=5))[f"pairs/data-{key}"].startswith("goes")
    grow_old(folder, 8)
    told_by(store, REMOVE)
    assert key not in versions(store)


def test_a_version_that_a_run_makes_stays_however_old(store: Store):
    dataset(store, 1)
    half = dataset(store, 2, finish=False)
    grow_old(half.folder, 30)
    assert "stays: being made by process" in told_by(store, REMOVE)[f"pairs/data-{half.key}"]
    half.write(from_rows([pair("z")], PAIRS))
    assert half.commit({}, {}, expected=4).rows == 4


def test_what_a_run_that_goes_on_may_read_stays(store: Store):
    """It began when another version was the finished one."""
    old = dataset(store, 1)
    reader = store.stage("captions", CAPTIONS, fingerprint("captions"))
    dataset(store, 2)
    grow_old(old.folder, 30)
    why = told_by(store, REMOVE)[f"pairs/data-{old.key}"]
    assert why == f"stays: the run that makes captions/data-{reader.key} may read it"
    reader.write(from_rows([caption("a")], CAPTIONS))
    reader.commit({}, {}, expected=1)
    assert told_by(store, REMOVE)[f"pairs/data-{old.key}"].startswith("goes")


def index_of(images: Stage) -> dict[str, str]:
    files = [f"data-{images.key}/{part}" for part in images.parts()]
    metadata = IndexMetadata("3", "f", 2, 3, "flat", images_fingerprint="f", image_files=files)
    return {"index.json": json.dumps(asdict(metadata)), "index.faiss": ""}


def test_the_pictures_that_the_index_shows_stay_and_so_does_an_index_that_may_still_serve(store: Store):
    shown, unseen, shown_now, newest = (dataset(store, number, "images") for number in range(4))
    served = artefact(store, "index", 1, index_of(shown))
    now = artefact(store, "index", 2, index_of(shown_now))
    grow_old(store.root, 30)
    told = told_by(store, CleanConfig())
    assert (
        told[f"index/data-{served.key}"] == "stays: a service that was not started again since may serve it"
    )
    assert told[f"images/data-{shown.key}"] == f"stays: index/data-{served.key} names it"
    assert told[f"images/data-{shown_now.key}"] == f"stays: index/data-{now.key} names it"
    assert told[f"images/data-{unseen.key}"].startswith("goes")
    assert told[f"images/data-{newest.key}"] == "stays: the finished version"

    manifest = Path(store.root, "index", "manifest.json")  # the same a month later
    then = datetime.fromtimestamp(time.time() - 30 * DAYS, UTC).isoformat(timespec="seconds")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"created_at": then}))
    told = told_by(store, REMOVE)
    rollback = "stays: the version before the finished one: a rollback leads to it"
    assert told[f"index/data-{served.key}"] == rollback
    assert versions(store, "index") == {served.key, now.key}
    assert versions(store, "images") == {shown.key, shown_now.key, newest.key}


def test_of_index_and_model_the_complete_version_before_the_finished_one_stays_and_no_earlier(store: Store):
    for name, last in (("index", "index.json"), ("model", "training.json")):
        made = [artefact(store, name, number, {last: "{}"}) for number in range(3)]
        half = artefact(store, name, 3, {"half": ""}, finish=False)
        half_key = half.key
        del half
        for stage, days in zip(made, (50, 40, 30), strict=True):
            grow_old(stage.folder, days)
        grow_old(Path(store.root, name, f"data-{half_key}"), 20)
        manifest = Path(store.root, name, "manifest.json")
        then = datetime.fromtimestamp(time.time() - 30 * DAYS, UTC).isoformat(timespec="seconds")
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"created_at": then}))
        for _ in range(2):  # what stays once stays
            told_by(store, REMOVE)
            assert versions(store, name) == {made[1].key, made[2].key}


def test_the_files_that_tell_a_complete_version_are_those_that_the_stages_write_last():
    from facap.index.build import FILES

    loop = (ROOT / "platform" / "facap" / "train" / "loop.py").read_text()  # importing it takes half a minute
    assert f'\nSUMMARY = "{LAST_FILE["model"]}"' in loop
    assert LAST_FILE["index"] == FILES[-1]


def test_what_a_serve_config_or_a_name_in_keep_names_stays(store: Store, tmp_path: Path):
    shown, _ = (dataset(store, number, "images") for number in range(2))
    models = [artefact(store, "model", n, {"training.json": "{}"}) for n in range(4)]
    texts = (index_of(shown), {"index.json": "{}"}, {"index.json": "{}"})
    indexes = [artefact(store, "index", n, text) for n, text in enumerate(texts)]
    for n, stage in enumerate([*models, *indexes]):
        grow_old(stage.folder, 90 - n)
    for folder in ("shop-v1-aa", "shop-v2-bb"):
        Path(store.root, "champions", folder).mkdir(parents=True)
    for folder in ("images", "champions"):
        grow_old(Path(store.root, folder), 90)
    then = datetime.fromtimestamp(time.time() - 30 * DAYS, UTC).isoformat(timespec="seconds")
    manifest = Path(store.root, "index", "manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"created_at": then}))
    serve = tmp_path / "serve.yaml"
    model, index = f"model/data-{models[0].key}", f"index/data-{indexes[0].key}"
    args = f"model_folder: /workspace/{model}\nindex_folder: /workspace/{index}"
    serve.write_text(f"{args}\nother: /workspace/champions/shop-v1-aa/\n")
    words = ["--clean.keep", str(serve), "--clean.keep", f"model/data-{models[1].key}"]
    settings = load_settings(words, "clean", "").clean
    told = told_by(store, settings)
    assert told[model] == told[index] == f"stays: {serve} names it"
    assert told["champions/shop-v1-aa"] == f"stays: {serve} names it"
    assert told[f"images/data-{shown.key}"] == f"stays: {index} names it"
    assert told[f"model/data-{models[1].key}"] == "stays: clean.keep names it"
    without = told_by(store, CleanConfig())
    for path in [
        model,
        f"model/data-{models[1].key}",
        index,
        f"images/data-{shown.key}",
        "champions/shop-v1-aa",
    ]:
        assert without[path].startswith("goes"), path
    assert told["champions/shop-v2-bb"].startswith("goes")


@pytest.mark.parametrize("text", [None, "model_folder: ''"])
def test_a_file_to_keep_by_that_is_not_there_or_names_nothing_stops_it(
    store: Store, tmp_path: Path, text: str | None
):
    old = dataset(store, 1)
    dataset(store, 2)
    grow_old(store.root, 30)
    file = tmp_path / "serve.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"clean.keep: '.*serve.yaml' should .* nothing was removed"):
        clean(store, CleanConfig(remove=True, keep=(str(file),)), Registered(), "", lambda text: None)
    assert old.key in versions(store)


def test_what_settings_name_stays(store: Store):
    start, model = artefact(store, "model", 1, {"config.json": "{}"}), artefact(store, "model", 2, {"a": ""})
    grow_old(store.root, 30)
    words = ["--workspace", store.root, "--train.start_from", start.folder, "--clean.remove", "true"]
    out = io.StringIO()
    clean_workspace(store, load_settings(words, "clean", ""), out)
    assert versions(store, "model") == {start.key, model.key}
    assert "this run's settings names it" in out.getvalue()


def test_registered_models_keep_the_folders_that_they_came_from(store: Store):
    """Real MLflow: by source, by alias, and what neither names."""
    sourced, loose, model = (artefact(store, "model", n, {"config.json": "{}"}) for n in range(3))
    client = open_client(store, "")
    client.create_registered_model("shop")
    for source in (Path(sourced.folder).as_uri(), "/elsewhere/b", "/elsewhere/c"):
        client.create_model_version("shop", source)
    client.set_registered_model_alias("shop", "champion", "2")
    decision = store.stage("champion", None, fingerprint("decision"))
    decision.commit({}, {}, extra={"name": "shop", "model_version": "2", "registered_version": "3"})
    for folder in ("shop-v1-aa", "shop-v2-bb", "shop-v22-bb", "shop-v3-cc"):
        Path(store.root, "champions", folder).mkdir(parents=True)
        Path(store.root, "champions", folder, "config.json").write_text("{}")
    grow_old(store.root, 30)
    models = registered.read(store, "")
    needless = "goes: no alias, index or decision names it; downloaded again when it is needed"
    assert told_by(store, REMOVE, models) == {
        f"model/data-{sourced.key}": "stays: MLflow's shop v1 names it",
        f"model/data-{loose.key}": "goes: not the finished version, and nothing refers to it",
        f"model/data-{model.key}": "stays: the finished version",
        "champions/shop-v1-aa": needless,
        "champions/shop-v2-bb": "stays: the last promotion names it",
        "champions/shop-v22-bb": needless,
        "champions/shop-v3-cc": "stays: the last promotion names it",
    }
    assert {path.name for path in Path(store.root, "champions").iterdir()} == {"shop-v2-bb", "shop-v3-cc"}
    Path(store.root, "champion", "manifest.json").unlink()
    told = told_by(store, CleanConfig(), models)
    assert told["champions/shop-v2-bb"] == "stays: has the alias champion"
    assert told["champions/shop-v3-cc"].startswith("goes")


def test_mlflow_that_does_not_answer_is_an_error_and_nothing_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        WorkspaceError, match=r"does not say which models are registered .* nothing was removed"
    ):
        registered.read(store, "http://127.0.0.1:9")
    with pytest.raises(WorkspaceError, match=r"MLflow at http://127.0.0.1:9 does not say") as refused:
        registered.read(store, "http://ann:secret@127.0.0.1:9")
    assert "ann" not in str(refused.value) and "secret" not in str(refused.value)
    assert registered.read(store, "") == Registered()
    assert not Path(store.root).exists()  # asking makes no database


def test_checkpoints_stay_while_their_training_can_go_on_and_go_with_it(store: Store):
    def checkpoints(stage: Stage) -> Path:
        folder = Path(store.root, "train-runs", run_name(stage.key))
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_text("x")
        return folder

    half = artefact(store, "model", 1, {"trained_on.parquet": ""}, finish=False)
    done = artefact(store, "model", 2, {"config.json": "{}"})
    runs = {"half": checkpoints(half), "done": checkpoints(done)}
    (Path(store.root, "train-runs", "of another tool")).mkdir()
    half_key, half_folder = half.key, half.folder
    del half
    grow_old(store.root, 30)
    (runs["half"] / "checkpoint").write_text("a step further")  # only its checkpoints change
    told_by(store, REMOVE)
    assert versions(store, "model") == {half_key, done.key}
    assert runs["half"].exists() and not runs["done"].exists()
    grow_old(store.root, 30)
    assert Path(half_folder).exists()
    told_by(store, REMOVE)
    assert versions(store, "model") == {done.key}
    assert [path.name for path in Path(store.root, "train-runs").iterdir()] == ["of another tool"]
    assert TRAIN_RUN.fullmatch(run_name(done.key))


def test_checkpoints_of_a_complete_training_go_though_another_model_is_the_finished_one(store: Store):
    """Its version stays, since MLflow names it."""
    earlier, _ = (artefact(store, "model", n, {"training.json": "{}"}) for n in range(2))
    folder = Path(store.root, "train-runs", run_name(earlier.key))
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text("x")
    grow_old(store.root, 30)
    told = told_by(store, REMOVE, Registered(told={"shop v1": earlier.folder}))
    assert told[f"model/data-{earlier.key}"] == "stays: MLflow's shop v1 names it"
    assert earlier.key in versions(store, "model") and not folder.exists()


def test_leftovers_of_kills_go_when_they_are_old(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("facap.lease.EXPIRY_S", 1.0)  # one lease is of another machine
    stage = dataset(store, 1)
    files = [
        Path(stage.folder, "part-1.parquet.77.tmp"),
        Path(store.root, "pairs", "manifest.json.77.tmp"),
        Path(store.root, "reports", "crawl.html.77.tmp"),
        Path(store.root, "pairs", f"lease-{fingerprint('x')}-1.json"),
    ]
    files[2].parent.mkdir()
    gone = Holder("o", "node-7", "another boot", 4711, 1, "2026-01-01T00:00:00+00:00")
    for file in files:
        file.write_text(json.dumps(asdict(gone)))
    assert {told[:5] for told in told_by(store, REMOVE).values()} == {"stays"}
    for file in files:
        grow_old(file.parent, 1)
    clean_said = told_by(store, CleanConfig())
    assert sorted(path for path, told in clean_said.items() if told.startswith("goes")) == sorted(
        str(file.relative_to(store.root)) for file in files
    )
    told_by(store, REMOVE)
    assert not any(file.exists() for file in files)
    assert store.read("pairs").num_rows == 3


def test_a_damaged_manifest_stops_it_before_anything_goes(store: Store):
    old = dataset(store, 1)
    dataset(store, 2)
    dataset(store, 1, "captions")
    Path(store.root, "captions", "manifest.json").write_text("{")
    grow_old(store.root, 30)
    with pytest.raises(WorkspaceError, match=r"captions/manifest.json cannot be read"):
        clean(store, REMOVE, Registered(), "", lambda text: None)
    assert old.key in versions(store)


def test_a_folder_with_a_manifest_of_another_tool_is_left_alone_and_said(store: Store):
    old = dataset(store, 1)
    dataset(store, 2)
    other = Path(store.root, "extension")
    other.mkdir()
    (other / "manifest.json").write_text('{"manifest_version": 3}')
    (other / "a.tmp").write_text("theirs")
    grow_old(store.root, 30)
    said: list[str] = []
    clean(store, REMOVE, Registered(), "", said.append)
    assert said[0] == "left alone  extension/  its manifest.json is none of ours"
    assert old.key not in versions(store)
    assert sorted(path.name for path in other.iterdir()) == ["a.tmp", "manifest.json"]


def test_nothing_beyond_a_link_and_nothing_of_others_is_removed(store: Store, tmp_path: Path):
    dataset(store, 1)
    old = dataset(store, 2)
    dataset(store, 3)
    outside = tmp_path / "outside"
    key = fingerprint("theirs")
    (outside / f"data-{key}").mkdir(parents=True)
    (outside / f"data-{key}" / "part-1.parquet").write_text("theirs")
    (outside / "a.tmp").write_text("theirs")
    root = Path(store.root)
    (root / "linked").symlink_to(outside)
    (root / "pairs" / f"data-{key}").symlink_to(outside / f"data-{key}")
    (Path(old.folder) / "link").symlink_to(outside)  # in a version that goes
    for folder in ("mine/data-2024", "mine/data-3fa9c1d2e4b5x", "logs/data-3fa9c1d2e4b5", "study-fine/pairs"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.txt").write_text("mine")
    (root / "notes.tmp").write_text("mine")
    grow_old(root, 30)
    grow_old(outside, 30)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    told_by(store, REMOVE)
    assert versions(store) == {fingerprint(["pairs", 3]), key}
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    for path in ("mine/data-2024/a.txt", "mine/data-3fa9c1d2e4b5x/a.txt", "logs/data-3fa9c1d2e4b5/a.txt"):
        assert (root / path).exists(), path
    assert (root / "study-fine/pairs/a.txt").exists() and (root / "notes.tmp").exists()


def test_what_a_run_takes_up_meanwhile_stays_after_all(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Between the look and the removal a version is opened, or finished."""
    opened, finished = dataset(store, 1), dataset(store, 2)
    dataset(store, 3)
    grow_old(store.root, 30)
    entries = Workspace.entries
    script = f"""
        import sys
        from facap.schemas import PAIRS
        from facap.store import Store
        stage = Store({store.root!r}).stage("pairs", PAIRS, {opened.key!r})
        print("held", flush=True)
        sys.stdin.readline()
    """
    with subprocess.Popen(
        [sys.executable, "-c", "\n".join(line[8:] for line in script.splitlines())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def then_changed(workspace: Workspace) -> list:
            found = entries(workspace)
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            store.stage("pairs", PAIRS, finished.key).commit({}, {}, expected=3)
            return found

        monkeypatch.setattr(Workspace, "entries", then_changed)
        monkeypatch.setattr("facap.clean.judge._read_since", lambda *_: "")
        said: list[str] = []
        clean(store, REMOVE, Registered(), "", said.append)
        process.communicate("\n")
    assert {opened.key, finished.key} <= versions(store)
    assert any(f"stays after all  pairs/data-{opened.key}" in text for text in said), said


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), keep_days=st.sampled_from([0.0, 3.0, 20.0]))
def test_what_manifests_lead_to_is_never_removed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, keep_days: float
):
    """Workspaces of any history: versions finished in any order, half made, of any age, naming each other."""
    rng = random.Random(seed)
    store = Store(str(tmp_path_factory.mktemp("w")))
    stages: list[Stage] = []
    for number in range(rng.randint(1, 10)):
        name = rng.choice(["pairs", "images", "index", "model"])
        finish = rng.random() < 0.7
        if name in ("pairs", "images"):
            stages.append(dataset(store, number, name, finish))
        else:
            named = rng.sample(stages, min(len(stages), rng.randint(0, 2)))
            text = json.dumps([f"data-{stage.key}/x" for stage in named])
            stages.append(artefact(store, name, number, {"named.json": text}, finish))
    held = [stage for stage in stages if rng.random() < 0.2 and stage.lease and stage.lease.is_ours()]
    for stage in stages:
        grow_old(stage.folder, rng.choice([0, 2, 5, 40]))
    key_of = {stage.key: stage for stage in stages}
    folders = {stage.key: stage.folder for stage in stages}
    reached = {m.key for m in map(store.manifest, ("pairs", "images", "index", "model")) if m is not None}
    reached |= {stage.key for stage in held}
    while True:
        named_by = {
            key
            for one in reached
            for file in Path(folders[one]).glob("*.json")
            for key in key_of
            if f"data-{key}" in file.read_text()
        }
        if named_by <= reached:
            break
        reached |= named_by
    contents = {
        path: path.read_bytes() for key in reached for path in Path(folders[key]).rglob("*") if path.is_file()
    }
    key_of.clear()
    stages.clear()
    if not held:
        del stage
    told_by(store, CleanConfig(remove=True, keep_days=keep_days))
    assert {path: path.read_bytes() for path in contents} == contents
    for key in reached:
        assert Path(folders[key]).is_dir()
    again = told_by(store, CleanConfig(remove=True, keep_days=keep_days))
    assert all(told.startswith("stays") for told in again.values()), again


def test_the_job_runs_without_ray_and_shows_its_settings(tmp_path: Path, store: Store):
    old = dataset(store, 1)
    dataset(store, 2)
    grow_old(store.root, 30)

    def job(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "jobs.clean_workspace", "--workspace", store.root, *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    shown = job("--help")
    assert shown.returncode == 0 and "--clean.keep_days" in shown.stdout
    dry = job()
    assert dry.returncode == 0 and f"goes   pairs/data-{old.key}" in dry.stdout, dry.stderr
    assert old.key in versions(store)
    done = job("--clean.remove", "true")
    assert done.returncode == 0 and "1 of 1 places removed" in done.stdout, done.stderr
    assert old.key not in versions(store)
    assert issubclass(WorkspaceError, FacapError)


def test_a_workspace_given_as_a_uri_is_cleaned_alike(tmp_path: Path):
    store = Store((tmp_path / "workspace").as_uri())
    assert not store.is_local
    keys = [fingerprint(number) for number in range(3)]
    for number, key in enumerate(keys):
        stage = store.stage("pairs", PAIRS, key)
        stage.write(from_rows([pair(f"r{number}")], PAIRS))
        stage.commit({}, {}, expected=1)
        grow_old(tmp_path / "workspace" / "pairs" / f"data-{key}", 30)
    assert {path: told[:5] for path, told in told_by(store, REMOVE).items()} == {
        f"pairs/data-{keys[0]}": "goes:",
        f"pairs/data-{keys[1]}": "goes:",
        f"pairs/data-{keys[2]}": "stays",
    }
    assert [path.name for path in (tmp_path / "workspace" / "pairs").glob("data-*")] == [f"data-{keys[2]}"]
