"""Trains variants of the model under equal budgets on drawn garments -> a table of which claims hold."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def run_study(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The study with its settings."""
    from facap.study import pipeline
    from facap.study.annotated import Annotators

    annotators = Annotators(settings.caption, settings.modify, settings.verify)
    return pipeline.run(store, settings.study, progress, annotators)


if __name__ == "__main__":
    sys.exit(run_job("study", __doc__, run_study))
