"""One MLflow client for the stages that record runs; SQLite in the workspace unless told otherwise.

>>> client = open_client(store, "")                      # doctest: +SKIP
>>> run = start_run(client, "train", {"recipe": "tiny_cpu"})
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from facap.errors import ConfigError
from facap.quoting import without_secrets
from facap.store import Store, code_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "facap"


def tracking_uri(store: Store, uri: str) -> str:
    """`uri`, or SQLite in the workspace if it is empty."""
    if uri:
        return uri
    if not store.is_local:
        raise ConfigError(f"workspace {store.root} is remote: set mlflow_uri to an MLflow server")
    return f"sqlite:///{store.path('mlflow.db')}"


def open_client(store: Store, uri: str) -> "MlflowClient":
    """A client with the experiment "facap" made; artefacts go to <workspace>/mlartifacts on SQLite."""
    from mlflow import MlflowClient

    resolved = tracking_uri(store, uri)
    if store.is_local:
        Path(store.root).mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=resolved, registry_uri=resolved)
    if client.get_experiment_by_name(EXPERIMENT) is None:
        location = None if uri else Path(store.path("mlartifacts")).as_uri()
        client.create_experiment(EXPERIMENT, artifact_location=location)
    return client


def start_run(client: "MlflowClient", name: str, params: dict[str, Any]) -> "Run":
    """A new run of the experiment: its parameters, less the logins in addresses, and the code version."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    run = client.create_run(experiment.experiment_id, run_name=name, tags={"facap.code": code_version()})
    for key, value in flatten(params).items():
        client.log_param(run.info.run_id, key, without_secrets(str(value))[:500])
    return run


def flatten(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys: {"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
