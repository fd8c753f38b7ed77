"""Versions in the MLflow model registry: register, promote, load. Plain files, no pickles.

The alias "champion" names the version that serves, "previous" the one before it, for going back, "challenger"
the one that was judged last. A version's tag "files" has the hash of each file, which loading checks.

    version = register(client, "facap-fashionblip2", folder, {"model_fingerprint": "3fa9..."})  # "1"
    promote(client, "facap-fashionblip2", version)
    load_champion(client, "facap-fashionblip2", "cache").path  # "cache/facap-fashionblip2-v1-3fa9..."
"""

import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from mlflow.exceptions import MlflowException

from facap.errors import ModelMissing, StageFailed
from facap.quoting import without_secrets
from facap.tracking import start_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
FILES = "files"  # the tag with the hashes of a version's files
EVIDENCE = "evaluation"  # folder of the run's artifacts with what the version was judged by
LOCK_S = 600  # a lock that is older is of a process that was killed
FINGERPRINT = "model_fingerprint"  # the tag by which a version is found again
ARTIFACTS = "model"  # folder of the run's artifacts that holds the model's files
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes for no model, no alias


@dataclass(frozen=True)
class Champion:
    """A registered version, mostly the promoted one, on this machine."""

    path: str
    version: str
    fingerprint: str


def find(client: "MlflowClient", name: str, fingerprint: str) -> "ModelVersion | None":
    """The version that was registered for this model fingerprint, the first if there are several."""
    found = client.search_model_versions(f"name = '{name}' and tags.{FINGERPRINT} = '{fingerprint}'")
    return min(found, key=lambda version: int(version.version), default=None)


def checksums(folder: str | Path) -> dict[str, str]:
    """file -> SHA-256 of the files in a model's folder."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def register(
    client: "MlflowClient", name: str, folder: str, tags: dict[str, str], evidence: str | None = None
) -> str:
    """The version number of the model in `folder`; a fingerprint that is known is not registered again.

    `tags` must hold FINGERPRINT; the others are brought up to date on a known version, and so is `evidence`,
    the folder with what it was judged by.
    """
    known = find(client, name, tags[FINGERPRINT])
    if known is not None:
        for key, value in tags.items():
            client.set_model_version_tag(name, known.version, key, value)
        if evidence and known.run_id:
            client.log_artifacts(known.run_id, evidence, EVIDENCE)
        return str(known.version)
    tags = tags | {FILES: json.dumps(checksums(folder))}
    try:
        client.create_registered_model(name, description="FashionBLIP-2 models trained by facap")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = start_run(client, "register", tags)
    client.log_artifacts(run.info.run_id, folder, ARTIFACTS)
    if evidence:
        client.log_artifacts(run.info.run_id, evidence, EVIDENCE)
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


def roll_back(client: "MlflowClient", name: str) -> tuple[str, str]:
    """Champion and previous change places: (champion now, before). ModelMissing without a previous one."""
    with promotion_lock(client, name):
        champion, previous = aliased(client, name, CHAMPION), aliased(client, name, PREVIOUS)
        if champion is None or previous is None:
            raise ModelMissing(f"'{name}' has no version to go back to in {_address(client)}")
        promote(client, name, str(previous.version))
        return str(previous.version), str(champion.version)


@contextmanager
def promotion_lock(client: "MlflowClient", name: str, wait_s: float = 60.0) -> Iterator[None]:
    """Held by one process at a time, wherever it runs, so that two promotions cannot both win.

    It is a registered model of its own: MLflow makes a name for one caller only. What a killed process
    left behind is removed, at once on its own machine and elsewhere after LOCK_S. Raises StageFailed if it
    cannot be had in `wait_s`.
    """
    lock, mine = f"{name}.lock", f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
    deadline = time.monotonic() + wait_s
    while not _taken(client, lock, mine):
        if time.monotonic() > deadline:
            raise StageFailed(
                f"promote: another promotion of '{name}' is going on; run again when it is done, or delete "
                f"the registered model '{lock}' in MLflow if there is none"
            )
        time.sleep(0.2)
    try:
        yield
    finally:
        if _holder(client, lock)[0] == mine:
            client.delete_registered_model(lock)


def _taken(client: "MlflowClient", lock: str, mine: str) -> bool:
    try:
        client.create_registered_model(lock, {"holder": mine}, "held while a model is promoted")
        return True
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    holder, age_s = _holder(client, lock)
    host, pid, _ = holder.split() if holder else ("", "0", "")
    if holder and (age_s > LOCK_S or (host == socket.gethostname() and not psutil.pid_exists(int(pid)))):
        with suppress(MlflowException):  # another process may have been quicker
            client.delete_registered_model(lock)
    return False


def _holder(client: "MlflowClient", lock: str) -> tuple[str, float]:
    """Who holds the lock, and for how long, s; "" if nobody does."""
    try:
        there = client.get_registered_model(lock)
    except MlflowException:
        return "", 0.0
    return there.tags.get("holder", ""), time.time() - there.creation_timestamp / 1000


def evidence_of(client: "MlflowClient", version: "ModelVersion", file: str, cache: str) -> Path | None:
    """A file of what a version was judged by, downloaded below `cache`; None if it has none."""
    Path(cache).mkdir(parents=True, exist_ok=True)
    try:
        return Path(client.download_artifacts(str(version.run_id), f"{EVIDENCE}/{file}", cache))
    except (MlflowException, OSError):
        return None


def load_version(client: "MlflowClient", name: str, cache: str, which: str) -> Champion:
    """The version that an alias or a number names, as in load_champion. ModelMissing if there is none."""
    try:
        version = client.get_model_version(name, which) if which.isdigit() else aliased(client, name, which)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        version = None
    if version is None:
        raise ModelMissing(f"'{name}' has no version '{which}' in {_address(client)}")
    return _on_this_machine(client, version, cache)


def load_champion(client: "MlflowClient", name: str, cache: str, otherwise: str | None = None) -> Champion:
    """The champion's folder below `cache`, downloaded unless it is there; ModelMissing if there is none.

    `otherwise`: the version to take where there is no champion, for a trial.
    """
    version = aliased(client, name, CHAMPION)
    if version is None and otherwise:
        version = client.get_model_version(name, otherwise)
    if version is None:
        raise ModelMissing(
            f"'{name}' has no version with the alias '{CHAMPION}' in {_address(client)}; train, evaluate "
            "and register a model that passes the gate, or set the alias in MLflow"
        )
    return _on_this_machine(client, version, cache)


def _address(client: "MlflowClient") -> str:
    return without_secrets(client.tracking_uri)


def _on_this_machine(client: "MlflowClient", version: "ModelVersion", cache: str) -> Champion:
    fingerprint = version.tags.get(FINGERPRINT, "")
    folder = Path(cache) / f"{version.name}-v{version.version}-{fingerprint}"
    if not folder.exists():
        _download(client, version, folder)
    _check_files(version, folder)
    return Champion(str(folder), str(version.version), fingerprint)


def _check_files(version: "ModelVersion", folder: Path) -> None:
    """Raises ModelMissing if a file is not the one that was registered."""
    if FILES not in version.tags:  # registered by hand
        return
    wanted, found = json.loads(version.tags[FILES]), checksums(folder)
    wrong = sorted(file for file in wanted if found.get(file) != wanted[file])
    if wrong:
        raise ModelMissing(
            f"version {version.version} of '{version.name}': {', '.join(wrong)} in {folder} is not what was "
            "registered; remove the folder, and if that does not help restore the files in MLflow's store"
        )


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
