"""Holds each modification text against its two pictures, and ranks its target -> VERDICTS."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def verify_triplets(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap import reports
    from facap.verify import pipeline
    from facap.verify.report import publish

    report = pipeline.run(store, settings.verify, progress)
    publish(store, settings.verify.mlflow_uri)
    progress.say(f"report: {reports.address(store, 'verify')}")
    return report


if __name__ == "__main__":
    sys.exit(run_job("verify", __doc__, verify_triplets))
