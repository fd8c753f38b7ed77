"""Registers the model in MLflow and promotes it to champion if it passes the gate."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def promote_model(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.registry import pipeline

    return pipeline.run(store, settings.registry, progress)


if __name__ == "__main__":
    sys.exit(run_job("promote", __doc__, promote_model))
