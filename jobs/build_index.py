"""Embeds the catalogue with the champion and builds the search index -> EMBEDDINGS and the index."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def build_index(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings, on the model that the registry calls champion."""
    from facap.index import pipeline
    from facap.registry.versions import load_champion
    from facap.tracking import open_client

    client = open_client(store, settings.registry.mlflow_uri)
    champion = load_champion(client, settings.registry.name, champion_cache(store))
    return pipeline.run(store, settings.index, progress, champion.path, champion.version)


def champion_cache(store: Store) -> str:
    """Where champions are downloaded to: in the workspace, or beside the job if that is remote."""
    return store.path("champions") if store.is_local else "champions"


if __name__ == "__main__":
    sys.exit(run_job("index", __doc__, build_index))
