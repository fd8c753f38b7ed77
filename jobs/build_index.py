"""Embeds the catalogue with the champion and builds the search index -> EMBEDDINGS and the index."""

import sys
from typing import TYPE_CHECKING

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings

if TYPE_CHECKING:
    from facap.registry.versions import Champion


def build_index(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings, on the model that is to serve."""
    from facap.index import pipeline

    model = model_to_serve(store, settings, progress)
    return pipeline.run(store, settings.index, progress, model.path, model.version)


def model_to_serve(store: Store, settings: Settings, progress: Progress) -> "Champion":
    """The champion; where there is none and registry.require_promotion is false, the version on trial."""
    from facap.registry.versions import load_champion
    from facap.tracking import open_client

    client = open_client(store, settings.registry.mlflow_uri)
    decision = None if settings.registry.require_promotion else store.manifest("champion")
    trial = decision.extra["registered_version"] if decision else None
    if decision and decision.extra["model_version"] is None:
        progress.say(f"no champion: version {trial} is on trial, the gate refused it")
    cache = store.path("champions") if store.is_local else "champions"
    return load_champion(client, settings.registry.name, cache, otherwise=trial)


if __name__ == "__main__":
    sys.exit(run_job("index", __doc__, build_index))
