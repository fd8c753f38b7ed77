"""A training is followed into a real MLflow server that is killed and started again on the way."""

import io
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient

from facap.errors import StageFailed
from facap.progress import Progress
from facap.store import Store
from facap.tracking import open_client
from facap.train import tracking
from facap.train.tracking import Follower, TrainLog, finish_run, open_run
from tests import processes

pytestmark = pytest.mark.slow


class Server:
    """An MLflow server on a port of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        (port,) = processes.free_ports(1)
        self.folder, self.uri = folder, f"http://127.0.0.1:{port}"
        self.command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            *("--artifacts-destination", f"{folder}/artifacts"),
        ]

    def start(self) -> None:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes more
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        processes.wait_until(self.answers, self.process, self.folder / "server.log", every_s=0.2)

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
            return True
        return False

    def kill(self) -> None:
        processes.kill_everything(self.process)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client gives a request up at once; by default it tries for minutes, which is as good."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


class Training:
    """What ranks would send, as it is followed."""

    def __init__(self, folder: Path, uri: str, key: str) -> None:
        self.store, self.uri, self.screen = Store(str(folder)), uri, io.StringIO()
        self.client = open_client(self.store, uri)
        self.run_id = open_run(self.client, key, {})
        self.actor: Any = TrainLog.remote()  # type: ignore[attr-defined]
        self.progress = Progress("train", self.screen)
        self.follower = Follower(
            self.actor, self.progress, folder / "train.log", self.client, self.run_id, lambda queries: None
        )  # type: ignore[arg-type,return-value]

    def steps(self, *numbers: int) -> None:
        known = dict.fromkeys(("temperature", "grad_norm", "samples_per_s", "data_share"), 0.5)
        for n in numbers:
            values = known | {"loss": n / 100, "step": n, "steps": 50, "epoch": 0}
            ray.get(self.actor.add.remote("step", values))

    def losses(self) -> list[tuple[int, float]]:
        client = MlflowClient(self.uri)
        return sorted((one.step, one.value) for one in client.get_metric_history(self.run_id, "loss"))

    def status(self) -> str:
        return str(MlflowClient(self.uri).get_run(self.run_id).info.status)

    def until_it_says(self, text: str) -> None:
        deadline = time.monotonic() + processes.PATIENCE_S
        while text not in self.screen.getvalue():
            if time.monotonic() > deadline:
                raise AssertionError(self.screen.getvalue())
            time.sleep(0.1)


def test_a_server_that_goes_away_and_comes_back_lacks_nothing_in_the_end(
    ray_session: None, tmp_path: Path, server: Server
) -> None:
    training = Training(tmp_path, server.uri, "back")
    with training.follower:
        training.steps(*range(1, 11))
        while len(training.losses()) < 10:
            time.sleep(0.1)
        server.kill()
        training.steps(*range(11, 21))
        training.until_it_says("MLflow fails (")
        training.steps(*range(21, 31))
        server.start()
        training.until_it_says("MLflow answers again")
        training.steps(*range(31, 41))
    assert training.losses() == [(n, n / 100) for n in range(1, 41)]
    assert training.status() == "FINISHED"
    assert training.screen.getvalue().count("MLflow fails (") == 1
    assert sum("/50 epoch 0 loss" in line for line in (tmp_path / "train.log").read_text().splitlines()) == 4


def test_a_server_that_is_away_when_training_ends_is_waited_for(
    ray_session: None, tmp_path: Path, server: Server
) -> None:
    training = Training(tmp_path, server.uri, "at the end")
    back = threading.Timer(3.0, server.start)
    with training.follower:
        training.steps(*range(1, 11))
        server.kill()
        training.steps(*range(11, 21))
        back.start()
    back.join()
    assert training.losses() == [(n, n / 100) for n in range(1, 21)]
    assert training.status() == "FINISHED"


def test_a_server_that_stays_away_costs_records_and_not_the_training(
    ray_session: None, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FLUSH_S", 3.0)
    training = Training(tmp_path, server.uri, "gone")
    with training.follower:
        server.kill()
        training.steps(1)
    said = training.screen.getvalue()
    assert "MLflow did not answer in 3 s" in said and training.run_id in said and "train.log has them" in said
    server.start()
    assert training.status() == "RUNNING"
    finish_run(training.store, training.uri, training.run_id, training.progress)  # as the next run does
    assert training.status() == "FINISHED"


def test_a_training_that_failed_says_so_and_why_until_it_is_resumed(
    ray_session: None, tmp_path: Path, server: Server
) -> None:
    training = Training(tmp_path, server.uri, "fails")
    with pytest.raises(StageFailed), training.follower:
        training.steps(1, 2)
        raise StageFailed("train: a worker failed: out of memory")
    run = MlflowClient(server.uri).get_run(training.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags[tracking.FAILURE_TAG] == "StageFailed: train: a worker failed: out of memory"
    assert training.losses() == [(1, 0.01), (2, 0.02)]
    resumed = Training(tmp_path, server.uri, "fails")
    assert resumed.run_id == training.run_id and resumed.status() == "RUNNING"
    with resumed.follower:
        resumed.steps(3)
    run = MlflowClient(server.uri).get_run(training.run_id)
    assert run.info.status == "FINISHED" and tracking.FAILURE_TAG not in run.data.tags
