"""Writes TRIPLETS as a folder in a published layout, with a dataset card."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def export_triplets(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The export with its settings."""
    from facap.triplets.formats import writing

    return writing.run(store, settings.exports, progress)


if __name__ == "__main__":
    sys.exit(run_job("export", __doc__, export_triplets, engines=False))
