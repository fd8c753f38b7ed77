"""What is told to MLflow and of it, with a real database."""

from pathlib import Path

from mlflow import MlflowClient

from facap.registry.versions import _address
from facap.store import Store
from facap.tracking import open_client, start_run


def test_parameters_are_recorded_without_what_addresses_log_in_with(tmp_path: Path):
    client = open_client(Store(str(tmp_path)), "")
    params = {"mlflow_uri": "http://ann:secret@mlflow:5000", "train": {"model": "org/name@main", "steps": 3}}
    run = start_run(client, "train", params)
    assert client.get_run(run.info.run_id).data.params == {
        "mlflow_uri": "http://mlflow:5000",
        "train.model": "org/name@main",
        "train.steps": "3",
    }


def test_messages_name_the_server_without_what_logs_in():
    assert _address(MlflowClient(tracking_uri="http://ann:secret@mlflow:5000")) == "http://mlflow:5000"
