"""A training that is left in peace, one on a single worker, and one that is killed again and again.

    found = measure(folder, families=60)                              # Ray must be up
    found["fsdp_loss_max_diff"], found["resume_loss_max_diff"]

All have the same triplets, seed and batches, and log the loss of every step to MLflow. The last one is killed
on two workers with all of its Ray, goes on with one, is killed again, goes on with two and loses one of them.
Steps that a kill undid are taken twice, and both losses count.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from facap.progress import Progress
from facap.store import Store
from facap.study import drawn
from facap.tracking import EXPERIMENT, open_client
from facap.train import pipeline
from facap.train.config import TrainConfig

COMPARED = 50  # steps in which one worker and two may differ by rounding alone
TIMEOUT_S = 1200
Losses = dict[int, list[float]]


def settings(workers: int, **changes: Any) -> TrainConfig:
    """A few seconds of training with many checkpoints."""
    sizes = {"batch_size": 16, "checkpoint_every_steps": 5, "cpus_per_worker": 0.5}
    return TrainConfig(num_workers=workers, **(sizes | changes))


def measure(folder: Path, families: int = 60, **changes: Any) -> dict[str, Any]:
    """Largest differences of the loss from that of a training left in peace, and what was resumed."""
    peace = drawn.make(str(folder / "peace"), families, seed=0)
    others = [drawn.make(str(folder / name), families, seed=0) for name in ("alone", "broken")]
    undisturbed = trained(peace, settings(2, **changes))
    alone = trained(others[0], settings(1, **changes))
    resumed = broken_off(Path(others[1].root), changes)
    last = min(COMPARED, max(undisturbed))
    assert undisturbed.keys() == alone.keys() == resumed.keys()
    return {
        "steps": max(undisturbed),
        "fsdp_loss_max_diff": difference(undisturbed, {k: v for k, v in alone.items() if k <= last}),
        "resume_loss_max_diff": difference(undisturbed, resumed),
        "steps_taken_twice": sum(len(values) - 1 for values in resumed.values()),
        "resumed_from": resumptions(Path(others[1].root)),
    }


def difference(one: Losses, other: Losses) -> float:
    """The largest, over the steps and values of `other`."""
    return max(abs(value - one[step][0]) for step, values in other.items() for value in values)


def trained(store: Store, config: TrainConfig) -> Losses:
    """Trains to the end in the Ray of this process; the losses by step."""
    pipeline.run(store, config, Progress("train", io.StringIO()))
    return losses(store)


def losses(store: Store) -> Losses:
    """Of the workspace's only training, by step; several where a kill undid it."""
    client = open_client(store, "")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    found: Losses = {}
    for metric in client.get_metric_history(run.info.run_id, "loss"):
        found.setdefault(metric.step, []).append(metric.value)
    return found


def resumptions(workspace: Path) -> list[int]:
    """The steps that rank 0 resumed from; none before there is a log."""
    log = workspace / "logs" / "train.log"
    lines = log.read_text().splitlines() if log.exists() else []
    said = "rank 0: resumed from the checkpoint of step "
    return [int(line.partition(said)[2]) for line in lines if said in line]


def survived(folder: Path, families: int, **changes: Any) -> dict[str, Any]:
    """The shorter way, for tests: killed with its Ray on two workers, it goes on with one that is killed."""
    peace = drawn.make(str(folder / "peace"), families, seed=0)
    broken = Store(shutil.copytree(peace.root, folder / "broken").as_posix())
    undisturbed = trained(peace, settings(2, **changes))
    workspace = Path(broken.root)
    _run(workspace, 2, changes, 0, _kill_all)
    killer = threading.Thread(target=_kill_own_worker, args=(workspace,), daemon=True)
    killer.start()
    resumed = trained(broken, settings(1, **changes))
    killer.join(10)
    assert undisturbed.keys() == resumed.keys()
    return {
        "steps": max(undisturbed),
        "resume_loss_max_diff": difference(undisturbed, resumed),
        "resumed_from": resumptions(workspace),
    }


def _kill_own_worker(workspace: Path) -> None:
    """Kills the training worker of this process' Ray when it has resumed and written a checkpoint."""
    deadline = time.monotonic() + TIMEOUT_S
    known: set[str] = set()
    while time.monotonic() < deadline:
        if not resumptions(workspace):
            known = _checkpoints(workspace)
        elif len(_checkpoints(workspace) - known) >= 2:  # the last one may not have been uploaded
            _kill_one_worker(psutil.Process())
            return
        time.sleep(0.02)


def broken_off(workspace: Path, changes: dict[str, Any]) -> Losses:
    """The losses of a training that was killed three times, by step."""
    for number, (workers, act) in enumerate(((2, _kill_all), (1, _kill_all), (2, _kill_one_worker))):
        _run(workspace, workers, changes, number, act)
    return losses(Store(str(workspace)))


def _checkpoints(workspace: Path) -> set[str]:
    """Those that Ray Train has registered: of others the next run would not know."""
    return {str(path) for path in workspace.glob("train-runs/*/checkpoint_2*")}


def _run(
    workspace: Path,
    workers: int,
    changes: dict[str, Any],
    number: int,
    act: Callable[[subprocess.Popen], None],
) -> None:
    """Trains in a process of its own, `number` others were killed before it.

    `act`s on it when it has resumed, if it had to, and written two checkpoints more.
    """
    log = workspace / f"out-{workers}.txt"
    told = settings(workers, **changes).model_dump_json(exclude_unset=True)
    with log.open("a") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.broken_trainings", str(workspace), told],
            stdout=out,
            stderr=out,
            start_new_session=True,  # a group of its own, Ray's processes included
            cwd=Path(__file__).resolve().parents[1],
            env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_AUTH_MODE": "disabled"},
        )
    try:
        _wait(process, log, lambda: len(resumptions(workspace)) >= number)
        known = _checkpoints(workspace)
        _wait(process, log, lambda: len(_checkpoints(workspace) - known) >= 2)
        act(process)
        if process.wait(TIMEOUT_S) not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the training failed: {log.read_text()}")
    finally:
        _kill_all(process)


def _wait(process: subprocess.Popen, log: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"not reached before the training ended: {log.read_text()}")
        time.sleep(0.02)


def _kill_all(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(30)


def _kill_one_worker(process: subprocess.Popen | psutil.Process) -> None:
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "RayTrainWorker" in _title(p)
    ]
    workers[0].kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def main() -> None:
    """Trains the workspace that is given, in a Ray of its own."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    config = TrainConfig.model_validate_json(sys.argv[2])
    pipeline.run(Store(sys.argv[1]), config, Progress("train"))


if __name__ == "__main__":
    main()
