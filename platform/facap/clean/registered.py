"""What the MLflow registry names: versions with an alias, and where the files of all versions come from."""

from dataclasses import dataclass, field
from pathlib import Path

from facap.errors import WorkspaceError
from facap.quoting import without_secrets
from facap.store import Store
from facap.tracking import tracking_uri

PAGE = 100


@dataclass(frozen=True)
class Registered:
    """`aliased`: beginnings of the folders that such versions are downloaded to -> the aliases.

    `told`: "<model> v<version>" -> what it says of itself: its source and its tags.
    """

    aliased: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


def folder_of(model: str, version: str) -> str:
    """How the name of the folder begins that a version is downloaded to."""
    return f"{model}-v{version}-"


def read(store: Store, uri: str) -> Registered:
    """Asks MLflow; nothing is registered where there is none yet. WorkspaceError if it does not answer."""
    if not uri and (not store.is_local or not Path(store.path("mlflow.db")).exists()):
        return Registered()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    where = tracking_uri(store, uri)
    try:
        client = MlflowClient(tracking_uri=where, registry_uri=where)
        aliased: dict[str, str] = {}
        for model in _pages(client.search_registered_models):
            for alias, version in model.aliases.items():
                folder = folder_of(model.name, str(version))
                aliased[folder] = f"{aliased[folder]}, {alias}" if folder in aliased else alias
        told = {
            f"{version.name} v{version.version}": f"{version.source} {version.tags}"
            for version in _pages(client.search_model_versions)
        }
    except (MlflowException, OSError) as error:
        raise WorkspaceError(
            f"MLflow at {without_secrets(where)} does not say which models are registered "
            f"({without_secrets(error)}), and they may need what would go: nothing was removed; run again "
            "when it answers"
        ) from error
    return Registered(aliased, told)


def _pages(search):  # type: ignore[no-untyped-def]  # of models or of versions
    token = None
    while True:
        found = search(max_results=PAGE, page_token=token)
        yield from found
        token = found.token
        if not token:
            return
