"""From the ranks to the eyes: a small actor carries records to the driver, which shows and keeps them.

    >>> with Follower(actor, progress, log_file, client, run_id, sheet):     # doctest: +SKIP
    ...     trainer.fit()                                                    # the run ends as this does

Records are (kind, values): "start" and "resume" of each rank; "step", "epoch", "samples", "retold" and "done"
of rank 0.
The driver turns them into progress lines, <workspace>/logs/train.log and an MLflow run. What it had not read
when it was killed is "retold": records that a checkpoint kept, of which those that lack are kept now.
Screen and file have one thread, MLflow another: where it does not answer, training goes on and says so, and
the records follow when it does.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from facap.progress import Progress
from facap.store import Store
from facap.tracking import open_client, tracking_uri
from facap.train.delivery import Call, Delivery, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from PIL.Image import Image

FLUSH_S = 300.0  # after a training, for what MLflow lacks: about as long as its client tries one request
FAILED_FLUSH_S = 30.0  # the same after an error, or Ctrl-C
RECALLS = ("val_recall_at_10",)  # what an epoch's record adds to its last step's
KEY_TAG = "facap.train_key"
FAILURE_TAG = "facap.failure"  # why a run FAILED
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
    """Reads the actor from threads of the driver while `with` lasts; ends the run as the block ended."""

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
        self._here = Delivery("train.log", self._since, self._shown, progress.say)
        self._mlflow = Delivery("MLflow", self._since, self._tracked, progress.say)

    def __enter__(self) -> "Follower":
        self._here.start()
        self._mlflow.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        wait_s = FLUSH_S if error is None else FAILED_FLUSH_S
        self._here.finish(FAILED_FLUSH_S)
        if not self._mlflow.finish(wait_s, self._ending(error)):
            where = f"; {self.log_file} has them" if self.log_file is not None else ""
            self.progress.say(
                f"MLflow did not answer in {wait_s:.0f} s: its run {self.run_id} lacks records{where}"
            )

    def poll(self) -> None:
        """Shows and keeps what has come since the last call; raises what MLflow raises."""
        self._here.step()
        self._mlflow.step()

    def _since(self, first: int) -> list[Record]:
        return list(ray.get(self.actor.since.remote(first)))

    def _ending(self, error: BaseException | None) -> list[Call]:
        if error is None:
            return [partial(self.client.set_terminated, self.run_id, "FINISHED")]
        why = f"{type(error).__name__}: {first_cause(error)}"[:500]
        return [
            partial(self.client.set_tag, self.run_id, FAILURE_TAG, why),
            partial(self.client.set_terminated, self.run_id, "FAILED"),
        ]

    def _shown(self, records: list[Record]) -> list[Call]:
        """What puts records on the screen and into the file."""
        told = [record for record in records if record[0] not in ("samples", "retold")]
        return [partial(self._write, told), *(partial(self._show, kind, values) for kind, values in told)]

    def _tracked(self, records: list[Record]) -> list[Call]:
        """What puts records into the run."""
        samples = [values for kind, values in records if kind == "samples" and values["queries"]]
        retold = [tuple(one) for kind, values in records if kind == "retold" for one in values["records"]]
        calls: list[Call] = [partial(self._draw, values) for values in samples]
        calls += self._batches(records)
        if retold:
            calls.append(partial(self._keep_lacking, retold))
        return calls

    def _draw(self, values: dict[str, Any]) -> None:
        picture = self.sheet(values["queries"])
        self.client.log_image(self.run_id, picture, key="retrievals", step=values["step"])

    def _keep_lacking(self, retold: list[Record]) -> None:
        """Keeps what a killed driver had not read, in the run and in the file."""
        lacking = self._lacking(retold)
        for call in self._batches(lacking):
            call()
        self._write(lacking)

    def _lacking(self, records: list[Record]) -> list[Record]:
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

    def _write(self, records: list[Record]) -> None:
        records = [r for r in records if r[0] != "step" or r[1]["step"] % LOG_EVERY_STEPS == 0]
        if self.log_file is None or not records:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a") as out:
            out.writelines(f"{stamp} {line(kind, values)}\n" for kind, values in records)

    def _batches(self, records: list[Record]) -> list[Call]:
        """Their numbers; a batch that is sent again has the same times, so MLflow keeps it once."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, int(values["step"]))
            for kind, values in records
            for name, value in values.items()
            if (kind == "step" and name not in ("step", "steps")) or (kind == "epoch" and name in RECALLS)
        ]
        chunks = [
            metrics[i : i + 500] for i in range(0, len(metrics), 500)
        ]  # MLflow takes at most 1,000 a call
        return [partial(self.client.log_batch, self.run_id, metrics=chunk) for chunk in chunks]


def first_cause(error: BaseException) -> str:
    """The last line that says what went wrong, from Ray Train's nested messages."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return lines[-1] if lines else type(error).__name__


def open_run(client: "MlflowClient", key: str, params: dict[str, Any]) -> str:
    """The MLflow run of this key: the one that a killed training left, or a new one."""
    from facap.tracking import EXPERIMENT, start_run

    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        if FAILURE_TAG in found[0].data.tags:
            client.delete_tag(found[0].info.run_id, FAILURE_TAG)
        return str(found[0].info.run_id)
    run = start_run(client, f"train-{key}", params)
    client.set_tag(run.info.run_id, KEY_TAG, key)
    return str(run.info.run_id)


def finish_run(store: Store, uri: str, run_id: str, progress: Progress) -> None:
    """Ends the run of a training that was done when its driver was killed; says so if MLflow fails."""
    from mlflow.exceptions import MlflowException

    try:
        client = open_client(store, uri)
        if client.get_run(run_id).info.status != "FINISHED":
            client.set_terminated(run_id, "FINISHED")
    except (MlflowException, OSError) as error:
        progress.say(f"the training is done, but its MLflow run {run_id} could not be ended: {error}")


@contextmanager
def system_metrics(store: Store, uri: str, run_id: str) -> Iterator[None]:
    """CPU, memory, disk and network of the driver's machine in the run, while `with` lasts."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    class Monitor(SystemMetricsMonitor):
        def monitor(self) -> None:
            """As MLflow's, which ends for good when one request fails; this one begins again."""
            super().monitor()
            while not self._shutdown_event.wait(self.sampling_interval):
                super().monitor()

    monitor = Monitor(run_id, resume_logging=True, tracking_uri=tracking_uri(store, uri))
    monitor.start()
    try:
        yield
    finally:  # in a thread, since it sends what it has and would wait for MLflow as long as that takes
        ending = threading.Thread(target=monitor.finish, name="system-metrics-end", daemon=True)
        ending.start()
        ending.join(FAILED_FLUSH_S)
