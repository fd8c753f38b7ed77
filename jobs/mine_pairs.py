"""Chooses a target for every reference among its neighbours -> PAIRS."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def mine_pairs(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap import reports
    from facap.triplets import pipeline
    from facap.triplets.report import publish

    report = pipeline.run(store, settings.pairs, progress)
    if publish(store, settings.mlflow_uri):
        progress.say(f"report: {reports.address(store, 'pairs')}")
    else:
        progress.say(
            "no report: these PAIRS were mined before figures were kept; other settings make them anew"
        )
    return report


if __name__ == "__main__":
    sys.exit(run_job("pairs", __doc__, mine_pairs))
