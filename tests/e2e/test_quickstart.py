"""The whole way on a small catalogue: killed in the crawl and in training, resumed each time, then reused.

One workspace and one command throughout. SIGKILL goes to the job and to everything it started. The two
annotation stages are killed in tests/integration/test_endpoint.py.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facap.catalog import wording
from facap.index import pipeline as index_pipeline
from facap.index.config import IndexConfig
from facap.progress import Progress
from facap.registry.config import RegistryConfig
from facap.registry.versions import load_champion
from facap.store import Store
from facap.tracking import open_client
from facap.train import pipeline as train_pipeline
from facap.train.config import TrainConfig
from tests import processes
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = 100
SETTINGS = {
    "catalog.num_products": PRODUCTS,
    "crawl.batch_size": 64,
    "train.batch_size": 20,
    "train.epochs": 3,  # of four steps
    "train.checkpoint_every_steps": 3,
    "evaluate.bootstrap_samples": 100,
    "registry.min_gain": -100.0,  # on so few pictures all are right; the later stages are to run all the same
    "serve_after": False,
}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Free ports for the demo catalogue and the service, the same for every run of the module."""
    return dict(zip(("catalog.port", "serve.port"), free_ports(2), strict=True))


def start(workspace: Path, ports: dict[str, int], **more: object) -> subprocess.Popen:
    flags = {"workspace": workspace} | SETTINGS | ports | more
    return processes.start("jobs.quickstart", flags, workspace.parent / "out.txt")


def output(workspace: Path) -> str:
    return (workspace.parent / "out.txt").read_text()


def finished(workspace: Path, name: str) -> bool:
    return (workspace / name / "manifest.json").exists()


def half_trained(workspace: Path) -> Callable[[], bool]:
    """Whether Ray Train has noted a checkpoint, of which there are five."""
    return lambda: any(workspace.glob("train-runs/*/checkpoint_manager_snapshot.json"))


@pytest.mark.slow
@pytest.mark.timeout(3 * processes.PATIENCE_S)
def test_killed_in_two_stages_it_ends_with_every_row_once(tmp_path: Path, ports: dict[str, int]):
    workspace = tmp_path / "w"
    log = workspace.parent / "out.txt"
    processes.kill_when(start(workspace, ports), processes.half_done(workspace, "images"), log)
    assert not finished(workspace, "images")
    processes.kill_when(start(workspace, ports), half_trained(workspace), log)
    assert not finished(workspace, "model")
    ours = ("  ", "[", "logs of this run: ", "Ray runs on this machine; ")
    others = [line for line in output(workspace).splitlines() if line and not line.startswith(ours)]
    # what two engines say is in log files; the raylet may warn of workers that start slowly
    assert [line for line in others if re.search(r"vllm|VLLM|EngineCore| INFO | DEBUG ", line)] == []

    process = start(workspace, ports)
    assert process.wait(timeout=processes.PATIENCE_S) == 0, output(workspace)
    text = output(workspace)
    store = Store(str(workspace))

    items = store.read("items", ["item_id"]).column(0).to_pylist()
    images = store.read("images", ["item_id", "image_id", "status", "duplicate_of"]).to_pylist()
    assert sorted(row["item_id"] for row in images) == sorted(items)
    kept = [r["image_id"] for r in images if r["status"] == "ok" and r["duplicate_of"] is None]
    assert len(kept) == len(set(kept)) == 2 * PRODUCTS
    assert {r["status"] for r in images} >= {"ok", "http_404"}
    captions = store.read("captions").to_pylist()
    assert sorted(row["image_id"] for row in captions) == sorted(kept)
    pairs = store.read("pairs", ["reference_id", "target_id"]).to_pylist()
    triplets = store.read("triplets").to_pylist()
    key = ("reference_id", "target_id")
    assert sorted(tuple(r[k] for k in key) for r in triplets) == sorted(
        tuple(r[k] for k in key) for r in pairs
    )

    # both texts come out of vLLM: what the engine wrote, and which model with which parameters
    for row in captions + triplets:
        assert row["model"].startswith("facap/tiny-")
        assert row["raw"] and row["prompt_hash"] and row["params_hash"]
    told = [row for row in captions if "category" in wording.caption_claims(row["caption"] or "")]
    assert len(told) > 0.95 * len(captions)

    log = (workspace / "logs" / "train.log").read_text()
    assert "rank 0 of 2" in log and "rank 1 of 2" in log
    resumed = [
        int(line.rsplit(" ", 1)[1]) for line in log.splitlines() if "resumed from the checkpoint" in line
    ]
    assert len(resumed) == 2 and min(resumed) >= SETTINGS["train.checkpoint_every_steps"], resumed
    manifest = store.require("model")
    files = {f"data-{manifest.key}/{name}" for name in ("config.json", "model.safetensors")}
    assert files <= set(manifest.files)
    trained = manifest.extra
    assert trained["ranks"] == 2 and "val_recall_at_10" in trained["metrics"]
    assert trained["steps"] > max(resumed)
    losses = [
        float(line.split(" epoch loss ")[1].split()[0]) for line in log.splitlines() if " epoch loss " in line
    ]
    assert losses[-1] < 0.95 * losses[0], losses
    client = open_client(store, "")
    logged = client.get_run(trained["mlflow_run_id"])
    assert logged.info.status == "FINISHED" and logged.data.params["ranks"] == "2"
    assert {entry.step for entry in client.get_metric_history(logged.info.run_id, "loss")} >= {
        trained["steps"]
    }
    for word in ("stage", "rows in", "failures by reason", "fashionblip2", "baseline/sum", "sample query"):
        assert word in text, word

    chosen = {
        name.removeprefix("train."): value for name, value in SETTINGS.items() if name.startswith("train.")
    }
    assert train_pipeline.run(store, TrainConfig(**chosen), Progress("train")).reused

    # what the killed runs had finished was found done
    reports = json.loads((workspace / "logs" / "stages.json").read_text())
    reused = {"catalog", "crawl", "caption", "pairs", "modify"}
    assert {report["stage"] for report in reports if report["reused"]} == reused

    # so it is with the whole: a changed setting of the index redoes the index and nothing else
    kept_ones = ("images", "captions", "triplets", "model", "embeddings")
    before = {name: store.require(name).fingerprint for name in kept_ones}
    model = load_champion(client, RegistryConfig().name, store.path("champions"))
    hnsw = IndexConfig(kind="hnsw")
    assert not index_pipeline.run(store, hnsw, Progress("index"), model.path, model.version).reused
    assert before == {name: store.require(name).fingerprint for name in before}
    assert store.require("index").extra["kind"] == "hnsw"


def test_errors_are_one_sentence_and_leave_nothing_behind(tmp_path: Path):
    cases = {
        "unknown setting 'crawl.timeot_s'": ["--crawl.timeot_s", "3"],
        "cannot be written": ["--workspace", "/proc/facap"],
        "did you mean": ["--catalog.num_product", "3"],
        "input should be": ["--train.epochs", "-1"],
    }
    for sentence, flags in cases.items():
        words = flags if "--workspace" in flags else [*flags, "--workspace", str(tmp_path / "w")]
        run = subprocess.run(
            [sys.executable, "-m", "jobs.quickstart", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert run.returncode == 1, (sentence, run.stdout, run.stderr)
        assert sentence in run.stderr and "Traceback" not in run.stderr, run.stderr
        assert len(run.stderr.strip().splitlines()) == 1, run.stderr
    assert not (tmp_path / "w").exists()
