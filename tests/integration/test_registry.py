"""The registry on a real MLflow with SQLite in a temporary workspace."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facap.errors import ModelMissing, StageFailed
from facap.evaluate.metrics import metric_names
from facap.progress import Progress
from facap.registry import pipeline, versions
from facap.registry.config import RegistryConfig
from facap.schemas import IMAGES, METRICS, RANKS, from_rows
from facap.store import Store
from facap.tracking import open_client
from tests.processes import PATIENCE_S

pytestmark = pytest.mark.slow
NAME = "facap-fashionblip2"


@pytest.fixture(scope="module")
def empty_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments of ours: making its tables takes 8 s, copying it nothing."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(tmp_path: Path, empty_db: Path) -> Store:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    shutil.copy(empty_db, workspace / "mlflow.db")
    return Store(str(workspace))


def trained(store: Store, key: str, text: str, shown: str = "") -> str:
    """A finished artefact "model"; returns its fingerprint. `shown`: a picture that it was trained on."""
    stage = store.stage("model", None, key)
    folder = Path(stage.folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(text)
    files = ["config.json", "model.safetensors"]
    if shown:
        table = pa.table({"image_id": [shown], "product_id": [f"p-{shown[0]}"]})
        pq.write_table(table, folder / "trained_on.parquet")
        files.append("trained_on.parquet")
    extra = {"checksums": versions.checksums(folder)}
    stage.commit(config={}, inputs={"triplets": "t"}, files=files, extra=extra)
    return store.fingerprint("model")


def measured(store: Store, model: str, recall: float, baseline: float = 0.3, data: str = "t1") -> None:
    """Finished METRICS and RANKS of the model and one baseline: 100 queries, of which it finds the first."""
    shared = {"benchmark": "catalogue_test", "protocol": "reference_excluded"}
    rows, ranks = [], []
    for version, value in {f"fashionblip2@{model}": recall, "baseline/sum@b": baseline}.items():
        named = shared | {"model_version": version}
        counts = {"num_queries": 100, "gallery_size": 20, "coverage": 1.0}
        rows += [named | counts | {"category": "all", "metric": m, "value": value} for m in metric_names()]
        for i in range(100):
            asked = {"category": "dress", "query": f"{data}-{i}", "reference_id": "r", "target_id": "t"}
            ranks.append(named | asked | {"rank": 1 if i < round(100 * value) else 11})
    inputs = {"triplets": data, "images": "i", "base": "facap/tiny-retrieval@b"}
    for name, schema, made in (("ranks", RANKS, ranks), ("metrics", METRICS, rows)):
        stage = store.stage(name, schema, f"{model}{recall}{data}")
        stage.write(from_rows(made, schema))
        stage.commit(config={}, inputs=inputs)


def pictures(store: Store) -> None:
    """Finished IMAGES: the two that queries show, and another view of the target's product."""
    now = datetime.now(UTC)
    shared = {"category": "dress", "url": "u", "status": "ok", "bytes": b"x", "fetched_at": now}
    stage = store.stage("images", IMAGES, "k")
    stage.write(
        from_rows(
            [
                shared | {"item_id": i, "image_id": i, "product_id": f"p-{p}"}
                for i, p in (("r", "r"), ("t", "t"), ("t2", "t"))
            ],
            IMAGES,
        )
    )
    stage.commit(config={}, inputs={})


def run(store: Store, **settings):
    return pipeline.run(store, RegistryConfig(**settings), Progress("registry"))


def test_register_promote_replace_and_refuse(store: Store, tmp_path: Path) -> None:
    client = open_client(store, "")
    with pytest.raises(ModelMissing, match="no version with the alias 'champion'"):
        versions.load_champion(client, NAME, str(tmp_path / "cache"))

    first = trained(store, "k1", "weights 1")
    measured(store, first, recall=0.5)
    report = run(store)
    assert report.note == "version 1 is the champion" and not report.reused
    assert run(store).reused
    extra = store.require("champion").extra
    assert (extra["model_version"], extra["model_fingerprint"], extra["promoted"]) == ("1", first, True)
    champion = versions.load_champion(client, NAME, str(tmp_path / "cache"))
    assert (champion.version, champion.fingerprint) == ("1", first)
    assert (Path(champion.path) / "model.safetensors").read_text() == "weights 1"
    assert versions.load_champion(client, NAME, str(tmp_path / "cache")) == champion
    tags = client.get_model_version(NAME, "1").tags
    assert tags["recall_at_10"] == "0.5" and tags["promoted"] == "true" and tags["input_triplets"] == "t"
    assert json.loads(tags["files"]).keys() == {"config.json", "model.safetensors"}
    (Path(champion.path) / "model.safetensors").write_text("weights of somebody else")
    with pytest.raises(ModelMissing, match=r"model\.safetensors in .* is not what was registered"):
        versions.load_champion(client, NAME, str(tmp_path / "cache"))
    shutil.rmtree(champion.path)

    run(store, min_gain=10)  # judged again under another rule: the same version, not a second one
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    assert versions.aliased(client, NAME, versions.PREVIOUS) is None

    second = trained(store, "k2", "weights 2")
    measured(store, second, recall=0.6)
    assert run(store).note == "version 2 is the champion"
    assert str(versions.aliased(client, NAME, versions.PREVIOUS).version) == "1"
    better = versions.load_champion(client, NAME, str(tmp_path / "cache"))
    assert (Path(better.path) / "model.safetensors").read_text() == "weights 2"

    for which in ("previous", "1"):
        assert versions.load_version(client, NAME, str(tmp_path / "cache"), which).version == "1"
    for which in ("9", "challanger"):
        with pytest.raises(ModelMissing, match=f"has no version '{which}'"):
            versions.load_version(client, NAME, str(tmp_path / "cache"), which)

    measured(store, trained(store, "k3", "weights 3"), recall=0.55)  # beats the baseline, not the champion
    assert "version 3 refused, version 2 stays" in run(store).note
    extra = store.require("champion").extra
    assert (extra["model_version"], extra["model_fingerprint"], extra["promoted"]) == ("2", second, False)
    assert "-5.0 points" in client.get_model_version(NAME, "3").tags["reasons"]
    assert str(versions.aliased(client, NAME, versions.CHALLENGER).version) == "3"
    assert str(versions.aliased(client, NAME, versions.PREVIOUS).version) == "1"


def test_refused_without_a_champion_stops_the_run(store: Store) -> None:
    measured(store, trained(store, "k1", "weights"), recall=0.3, baseline=0.35)
    with pytest.raises(
        StageFailed, match=r"refused.*R@10 30.0% is -5.0 points \[.*\] against baseline/sum@b at 35.0%"
    ):
        run(store)
    assert store.manifest("champion") is None
    report = run(store, require_promotion=False)
    assert "version 1 refused, there is no champion" in report.note
    assert store.require("champion").extra["model_version"] is None
    client = open_client(store, "")
    with pytest.raises(ModelMissing, match="has no version with the alias 'champion'"):
        versions.load_champion(client, NAME, store.path("cache"))
    assert versions.load_champion(client, NAME, store.path("cache"), otherwise="1").version == "1"


def test_a_kill_while_promoting_is_repaired(store: Store, tmp_path: Path) -> None:
    client = open_client(store, "")
    for number in ("1", "2"):
        folder = tmp_path / number
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        assert versions.register(client, NAME, str(folder), {"model_fingerprint": number}) == number
    versions.promote(client, NAME, "1")
    client.set_registered_model_alias(NAME, versions.PREVIOUS, "1")  # as far as a killed promotion came
    for _ in range(2):
        versions.promote(client, NAME, "2")
        assert str(versions.aliased(client, NAME, versions.CHAMPION).version) == "2"
        assert str(versions.aliased(client, NAME, versions.PREVIOUS).version) == "1"


def test_lost_files_are_one_clear_error(store: Store, tmp_path: Path) -> None:
    client = open_client(store, "")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_text("no config.json here")
    versions.promote(client, NAME, versions.register(client, NAME, str(folder), {"model_fingerprint": "f"}))
    with pytest.raises(ModelMissing, match="register the model again"):
        versions.load_champion(client, NAME, str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_that_has_seen_what_it_is_asked_about_is_refused(store: Store) -> None:
    """The picture itself, and another view of a product that a query asks for."""
    pictures(store)
    for number, shown in enumerate(("r", "t2"), 1):
        measured(store, trained(store, f"k{number}", shown, shown), recall=0.9)
        report = run(store, require_promotion=False)
        assert "100 queries show pictures or products that it was trained on" in report.note
    measured(store, trained(store, "k3", "clean", "elsewhere"), recall=0.9)
    assert run(store).note == "version 3 is the champion"


def test_altered_files_are_refused(store: Store) -> None:
    measured(store, trained(store, "k1", "weights"), recall=0.9)
    (Path(store.folder("model")) / "model.safetensors").write_text("other weights")
    assert "model.safetensors changed after the training" in run(store, require_promotion=False).note


def test_going_back_and_forth(store: Store) -> None:
    client = open_client(store, "")
    with pytest.raises(ModelMissing, match="no version to go back to"):
        versions.roll_back(client, NAME)
    for number, recall in enumerate((0.5, 0.8), 1):
        measured(store, trained(store, f"k{number}", f"weights {number}"), recall)
        run(store)
    assert versions.roll_back(client, NAME) == ("1", "2")
    assert str(versions.aliased(client, NAME, versions.CHAMPION).version) == "1"
    assert versions.roll_back(client, NAME) == ("2", "1")


def _promotion(root: str, number: int, ready: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    pipeline.run(Store(root), RegistryConfig(mlflow_uri=os.environ["REGISTRY"]), Progress("registry"))


def test_of_two_promotions_at_once_the_better_one_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workspaces, one registry: whoever comes second is judged against whoever came first."""
    monkeypatch.setenv("REGISTRY", f"sqlite:///{store.path('mlflow.db')}")
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(2)
    processes = []
    for number, recall in ((1, 0.6), (2, 0.8)):
        one = Store(str(tmp_path / f"w{number}"))
        measured(one, trained(one, f"k{number}", f"weights {number}"), recall)
        processes.append(spawn.Process(target=_promotion, args=(one.root, number, ready)))
    open_client(store, "")
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    client = open_client(store, "")
    champion = versions.aliased(client, NAME, versions.CHAMPION)
    assert champion is not None and champion.tags["recall_at_10"] == "0.8"
    promoted = [v.tags["promoted"] for v in client.search_model_versions(f"name = '{NAME}'")]
    decisions = [Store(str(tmp_path / f"w{n}")).require("champion").extra["promoted"] for n in (1, 2)]
    assert len(promoted) == 2 and decisions[1] is True
    second = Store(str(tmp_path / "w1")).require("champion").extra
    if not decisions[0]:  # it came second, and saw the better one
        assert second["model_version"] == str(champion.version) and "-20.0 points" in second["reasons"][1]


def _hold(uri: str, held: object) -> None:
    from mlflow import MlflowClient

    with versions.promotion_lock(MlflowClient(tracking_uri=uri, registry_uri=uri), NAME):
        held.set()  # type: ignore[attr-defined]
        time.sleep(PATIENCE_S)


def test_the_lock_of_a_killed_promotion_is_taken_over(store: Store) -> None:
    client = open_client(store, "")
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    process = spawn.Process(target=_hold, args=(f"sqlite:///{store.path('mlflow.db')}", held))
    process.start()
    assert held.wait(PATIENCE_S)
    with (
        pytest.raises(StageFailed, match=r"another promotion .* is going on"),
        versions.promotion_lock(client, NAME, wait_s=0.5),
    ):
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with versions.promotion_lock(client, NAME, wait_s=10):
        pass
    with versions.promotion_lock(client, NAME, wait_s=10):  # it was given back
        pass
