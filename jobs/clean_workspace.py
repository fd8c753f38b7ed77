"""Lists what nothing in the workspace refers to, and with --clean.remove true removes it."""

import sys
from functools import partial
from typing import TextIO

from facap.store import Store
from jobs.job_runner import run_tool
from jobs.job_settings import Settings


def clean_workspace(store: Store, settings: Settings, out: TextIO) -> None:
    """Old versions, checkpoints of finished trainings, models without an alias, and leftovers of kills."""
    from facap.clean import registered
    from facap.clean.pipeline import clean

    models = registered.read(store, settings.registry.mlflow_uri)
    clean(store, settings.clean, models, settings.model_dump_json(), partial(print, file=out))


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, clean_workspace))
