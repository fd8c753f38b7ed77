"""Versions in the MLflow model registry: register, promote, load. Plain files, no pickles.

The alias "champion" names the version that serves, "previous" the one before it, for going back.

    version = register(client, "facap-fashionblip2", folder, {"model_fingerprint": "3fa9..."})  # "1"
    promote(client, "facap-fashionblip2", version)
    load_champion(client, "facap-fashionblip2", "cache").path  # "cache/facap-fashionblip2-v1-3fa9..."
"""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from facap.errors import ModelMissing
from facap.tracking import start_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
FINGERPRINT = "model_fingerprint"  # the tag by which a version is found again
ARTIFACTS = "model"  # folder of the run's artifacts that holds the model's files
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes for no model, no alias


@dataclass(frozen=True)
class Champion:
    """The promoted version, on this machine."""

    path: str
    version: str
    fingerprint: str


def find(client: "MlflowClient", name: str, fingerprint: str) -> "ModelVersion | None":
    """The version that was registered for this model fingerprint, the first if there are several."""
    found = client.search_model_versions(f"name = '{name}' and tags.{FINGERPRINT} = '{fingerprint}'")
    return min(found, key=lambda version: int(version.version), default=None)


def register(client: "MlflowClient", name: str, folder: str, tags: dict[str, str]) -> str:
    """The version number of the model in `folder`; a fingerprint that is known is not registered again.

    `tags` must hold FINGERPRINT; the others are brought up to date on a known version.
    """
    known = find(client, name, tags[FINGERPRINT])
    if known is not None:
        for key, value in tags.items():
            client.set_model_version_tag(name, known.version, key, value)
        return str(known.version)
    try:
        client.create_registered_model(name, description="FashionBLIP-2 models trained by facap")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = start_run(client, "register", tags)
    client.log_artifacts(run.info.run_id, folder, ARTIFACTS)
    client.set_terminated(run.info.run_id)
    source = f"{run.info.artifact_uri}/{ARTIFACTS}"
    return str(client.create_model_version(name, source, run_id=run.info.run_id, tags=tags).version)


def aliased(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """The version that an alias names, or None."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise


def promote(client: "MlflowClient", name: str, version: str) -> None:
    """Makes `version` the champion and the champion before it "previous"; twice is as good as once."""
    current = aliased(client, name, CHAMPION)
    if current is not None and str(current.version) == version:
        return
    if current is not None:  # first, so that a kill between the two leaves the old champion in place
        client.set_registered_model_alias(name, PREVIOUS, current.version)
    client.set_registered_model_alias(name, CHAMPION, version)


def load_champion(client: "MlflowClient", name: str, cache: str, otherwise: str | None = None) -> Champion:
    """The champion's folder below `cache`, downloaded unless it is there; ModelMissing if there is none.

    `otherwise`: the version to take where there is no champion, for a trial.
    """
    version = aliased(client, name, CHAMPION)
    if version is None and otherwise:
        version = client.get_model_version(name, otherwise)
    if version is None:
        raise ModelMissing(
            f"'{name}' has no version with the alias '{CHAMPION}' in {client.tracking_uri}; train, evaluate "
            "and register a model that passes the gate, or set the alias in MLflow"
        )
    fingerprint = version.tags.get(FINGERPRINT, "")
    folder = Path(cache) / f"{name}-v{version.version}-{fingerprint}"
    if not folder.exists():
        _download(client, version, folder)
    return Champion(str(folder), str(version.version), fingerprint)


def _download(client: "MlflowClient", version: "ModelVersion", folder: Path) -> None:
    """Downloads beside `folder` and renames, so that a killed download is never taken for a model."""
    assert version.run_id is not None, version
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        path = client.download_artifacts(version.run_id, ARTIFACTS, str(unfinished))
        if not (Path(path) / "config.json").exists():
            raise ModelMissing(
                f"version {version.version} of '{version.name}' should hold a model with config.json at "
                f"{version.source}, holds none; register the model again"
            )
        if not folder.exists():  # another process may have been quicker
            Path(path).rename(folder)
    except (MlflowException, OSError) as error:
        raise ModelMissing(
            f"version {version.version} of '{version.name}' cannot be downloaded from {version.source} "
            f"({error}); restore the files or register the model again"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
