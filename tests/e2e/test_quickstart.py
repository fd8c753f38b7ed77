"""The whole way on a small catalogue: killed in four stages, resumed each time, then reused.

One workspace and one command throughout. SIGKILL goes to the job and to everything it started.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from facap.catalog import wording
from facap.store import Store

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = 260
SETTINGS = {
    "catalog.num_products": PRODUCTS,
    "crawl.batch_size": 64,
    "train.batch_size": 32,
    "train.epochs": 4,
    "train.checkpoint_every_steps": 4,
    "evaluate.bootstrap_samples": 100,
    "registry.min_gain": -100.0,  # on so few pictures all are right; the later stages are to run all the same
    "serve_after": False,
}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Free ports for the demo catalogue and the service, the same for every run of the module."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return {"catalog.port": found[0], "serve.port": found[1]}


def start(workspace: Path, ports: dict[str, int], **more: object) -> subprocess.Popen:
    flags = [word for k, v in (SETTINGS | ports | more).items() for word in (f"--{k}", str(v).lower())]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    with (workspace.parent / "out.txt").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.quickstart", "--workspace", str(workspace), *flags],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
        )


def output(workspace: Path) -> str:
    return (workspace.parent / "out.txt").read_text()


def kill_everything(process: subprocess.Popen) -> None:
    """SIGKILL to the job and to all that it started, Ray's own processes included."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)
    process.wait(timeout=30)


def kill_when(
    process: subprocess.Popen, workspace: Path, ready: Callable[[], bool], timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ended before it could be killed:\n{output(workspace)}"
        if ready():
            kill_everything(process)
            return
        time.sleep(0.02)
    kill_everything(process)
    raise AssertionError(f"not reached in {timeout_s} s:\n{output(workspace)}")


def parts(workspace: Path, name: str) -> list[Path]:
    return list((workspace / name).glob("data-*/part-*.parquet"))


def finished(workspace: Path, name: str) -> bool:
    return (workspace / name / "manifest.json").exists()


def half_done(workspace: Path, name: str) -> Callable[[], bool]:
    return lambda: bool(parts(workspace, name)) and not finished(workspace, name)


def half_trained(workspace: Path) -> Callable[[], bool]:
    log = workspace / "logs" / "train.log"  # the second epoch ends after two checkpoints were reported
    return lambda: log.exists() and " epoch 1 step " in log.read_text() and not finished(workspace, "model")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_in_four_stages_it_ends_with_every_row_once(tmp_path: Path, ports: dict[str, int]):
    workspace = tmp_path / "w"
    for name in ("images", "captions", "triplets"):
        kill_when(start(workspace, ports), workspace, half_done(workspace, name), timeout_s=400)
        assert not finished(workspace, name)
    kill_when(start(workspace, ports), workspace, half_trained(workspace), timeout_s=400)
    assert not finished(workspace, "model")

    process = start(workspace, ports)
    assert process.wait(timeout=600) == 0, output(workspace)
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
    assert store.require("model").extra["steps"] > max(resumed)
    for word in ("stage", "rows in", "failures by reason", "fashionblip2", "baseline/sum", "sample query"):
        assert word in text, word

    # a second run finds everything done; a changed index setting redoes the index and nothing else
    kept_ones = ("images", "captions", "triplets", "model", "embeddings")
    before = {name: store.require(name).fingerprint for name in kept_ones}
    process = start(workspace, ports, **{"index.kind": "hnsw"})
    assert process.wait(timeout=300) == 0, output(workspace)
    assert before == {name: store.require(name).fingerprint for name in before}
    assert store.require("index").extra["kind"] == "hnsw"
    reports = json.loads((workspace / "logs" / "stages.json").read_text())
    assert {r["stage"] for r in reports if not r["reused"]} == {"index", "serve"}


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
