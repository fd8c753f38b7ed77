"""Scores the model and the baselines on products never seen -> METRICS."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def evaluate_model(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.evaluate import pipeline

    return pipeline.run(store, settings.evaluate, progress)


if __name__ == "__main__":
    sys.exit(run_job("evaluate", __doc__, evaluate_model))
