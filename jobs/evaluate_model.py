"""Scores the model and the baselines on products never seen -> METRICS."""

import sys
from typing import TextIO

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_jobs
from jobs.job_settings import Settings


def evaluate_model(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.evaluate import pipeline

    return pipeline.run(store, settings.evaluate, progress)


def show(store: Store, settings: Settings, out: TextIO) -> None:
    """Prints METRICS as tables."""
    from facap import reports
    from facap.evaluate.report import retrieval_tables
    from facap.evaluate.report_page import NAME

    print(retrieval_tables(store.read("metrics")), file=out)
    print(f"pictures: {reports.address(store, NAME)}", file=out)


if __name__ == "__main__":
    sys.exit(run_jobs(__doc__, {"evaluate": evaluate_model}, afterwards=show))
