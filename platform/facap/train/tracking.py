"""From the ranks to the eyes: a small actor carries records to the driver, which shows and keeps them.

Records are (kind, values): "start" and "resume" of each rank; "step", "epoch", "samples", "retold" and "done"
of rank 0.
The driver turns them into progress lines, <workspace>/logs/train.log and an MLflow run. What it had not read
when it was killed is "retold": records that a checkpoint kept, of which those that lack are kept now.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from facap.progress import Progress
from facap.store import Store
from facap.tracking import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from PIL.Image import Image

POLL_S = 1.0  # a record is on screen within this time
RECALLS = ("val_recall_at_10",)  # what an epoch's record adds to its last step's
KEY_TAG = "facap.train_key"
LOG_EVERY_STEPS = 10  # of steps in train.log; MLflow gets all of them


@ray.remote(num_cpus=0)
class TrainLog:
    """Records in the order in which they came; outlives a restarted worker group."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def add(self, kind: str, values: dict[str, Any]) -> None:
        self.records.append((kind, values))

    def since(self, first: int) -> list[tuple[str, dict[str, Any]]]:
        """The records from number `first` on."""
        return self.records[first:]


def line(kind: str, values: dict[str, Any]) -> str:
    """A record as one line of text."""
    if kind == "start":
        return (
            "rank {rank} of {ranks}: FSDP2 on {device}, holds {held:,} of {total:,} sharded parameters; "
            "{pictures:,} pictures, {steps:,} steps of {batch} triplets a rank".format(**values)
        )
    if kind == "resume":
        return "rank {rank}: resumed from the checkpoint of step {step}".format(**values)
    if kind == "step":
        return (
            "step {step}/{steps} epoch {epoch} loss {loss:.4f} temperature {temperature:.4f} "
            "grad_norm {grad_norm:.3f} samples_per_s {samples_per_s:.1f} data_share {data_share:.3f}".format(
                **values
            )
        )
    return f"{kind} " + " ".join(
        f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()
    )


class Follower:
    """Reads the actor from a thread of the driver while `with` lasts."""

    def __init__(
        self,
        actor: Any,
        progress: Progress,
        log_file: Path | None,
        client: "MlflowClient",
        run_id: str,
        sheet: Callable[[list[dict[str, Any]]], "Image"],
    ) -> None:
        self.actor, self.progress, self.log_file = actor, progress, log_file
        self.client, self.run_id, self.sheet = client, run_id, sheet
        self._read = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="train-log", daemon=True)

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if not any(error):
            self.poll()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self.poll()

    def poll(self) -> None:
        """Shows and keeps what has come since the last call."""
        records = ray.get(self.actor.since.remote(self._read))
        self._read += len(records)
        for values in (values for kind, values in records if kind == "samples"):
            if values["queries"]:
                picture = self.sheet(values["queries"])
                self.client.log_image(self.run_id, picture, key="retrievals", step=values["step"])
        retold = [tuple(one) for kind, values in records if kind == "retold" for one in values["records"]]
        records = [record for record in records if record[0] not in ("samples", "retold")]
        for kind, values in records:
            self._show(kind, values)
        self._keep(records)
        if retold:
            self._keep(self._lacking(retold))

    def _keep(self, records: list[tuple[str, dict[str, Any]]]) -> None:
        self._write([r for r in records if r[0] != "step" or r[1]["step"] % LOG_EVERY_STEPS == 0])
        self._track(records)

    def _lacking(self, records: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
        """Of these steps and epochs, those that MLflow does not know."""
        known = {
            name: {entry.step for entry in self.client.get_metric_history(self.run_id, name)}
            for name in ("loss", *RECALLS)
        }
        named = {"step": "loss", "epoch": RECALLS[0]}
        return [
            (kind, values)
            for kind, values in records
            if named[kind] in values and values["step"] not in known[named[kind]]
        ]

    def _show(self, kind: str, values: dict[str, Any]) -> None:
        if kind == "step":
            note = f"loss {values['loss']:.3f}"
            self.progress.update(values["step"], values["steps"], note)
        else:
            self.progress.say(line(kind, values))

    def _write(self, records: list[tuple[str, dict[str, Any]]]) -> None:
        if self.log_file is None or not records:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a") as out:
            out.writelines(f"{stamp} {line(kind, values)}\n" for kind, values in records)

    def _track(self, records: list[tuple[str, dict[str, Any]]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, int(values["step"]))
            for kind, values in records
            for name, value in values.items()
            if (kind == "step" and name not in ("step", "steps")) or (kind == "epoch" and name in RECALLS)
        ]
        for i in range(0, len(metrics), 500):  # MLflow takes at most 1,000 a call
            self.client.log_batch(self.run_id, metrics=metrics[i : i + 500])


def open_run(client: "MlflowClient", key: str, params: dict[str, Any]) -> str:
    """The MLflow run of this key: the one that a killed training left, or a new one."""
    from facap.tracking import EXPERIMENT, start_run

    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)
    run = start_run(client, f"train-{key}", params)
    client.set_tag(run.info.run_id, KEY_TAG, key)
    return str(run.info.run_id)


@contextmanager
def system_metrics(store: Store, uri: str, run_id: str) -> Iterator[None]:
    """CPU, memory, disk and network of the driver's machine in the run, while `with` lasts."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=tracking_uri(store, uri))
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
