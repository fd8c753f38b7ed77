"""The registry on a real MLflow with SQLite in a temporary workspace."""

import shutil
from pathlib import Path

import pytest

from facap.errors import ModelMissing, StageFailed
from facap.evaluate.metrics import metric_names
from facap.progress import Progress
from facap.registry import pipeline, versions
from facap.registry.config import RegistryConfig
from facap.schemas import METRICS, from_rows
from facap.store import Store
from facap.tracking import open_client

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


def trained(store: Store, key: str, text: str) -> str:
    """A finished artefact "model" of two files; returns its fingerprint."""
    stage = store.stage("model", None, key)
    folder = Path(stage.folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(text)
    stage.commit(config={}, inputs={"triplets": "t"}, files=["config.json", "model.safetensors"])
    return store.fingerprint("model")


def measured(store: Store, model: str, recall: float, baseline: float = 0.3, data: str = "t1") -> None:
    """Finished METRICS of the model and one baseline."""
    scores = {f"fashionblip2@{model}": recall, "baseline/sum@b": baseline}
    rows = [
        {
            "model_version": version,
            "benchmark": "catalogue_test",
            "protocol": "reference_excluded",
            "category": "all",
            "metric": metric,
            "value": value,
            "num_queries": 10,
            "gallery_size": 20,
            "coverage": 1.0,
        }
        for version, value in scores.items()
        for metric in metric_names()
    ]
    stage = store.stage("metrics", METRICS, f"{model}{recall}{data}")
    stage.write(from_rows(rows, METRICS))
    stage.commit(config={}, inputs={"triplets": data, "images": "i", "base": "facap/tiny-retrieval@b"})


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

    run(store, min_gain=10)  # judged again under another rule: the same version, not a second one
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    assert versions.aliased(client, NAME, versions.PREVIOUS) is None

    second = trained(store, "k2", "weights 2")
    measured(store, second, recall=0.6)
    assert run(store).note == "version 2 is the champion"
    assert str(versions.aliased(client, NAME, versions.PREVIOUS).version) == "1"
    better = versions.load_champion(client, NAME, str(tmp_path / "cache"))
    assert (Path(better.path) / "model.safetensors").read_text() == "weights 2"

    measured(store, trained(store, "k3", "weights 3"), recall=0.55)  # beats the baseline, not the champion
    assert "version 3 refused, version 2 stays" in run(store).note
    extra = store.require("champion").extra
    assert (extra["model_version"], extra["model_fingerprint"], extra["promoted"]) == ("2", second, False)
    assert "worse than the champion" in client.get_model_version(NAME, "3").tags["reasons"]
    assert str(versions.aliased(client, NAME, versions.PREVIOUS).version) == "1"


def test_refused_without_a_champion_stops_the_run(store: Store) -> None:
    measured(store, trained(store, "k1", "weights"), recall=0.3, baseline=0.35)
    with pytest.raises(
        StageFailed, match=r"refused.*R@10 30.0% is -5.0 points against baseline/sum@b at 35.0%"
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
