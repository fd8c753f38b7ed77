"""Scores another model's embeddings or rankings under the dataset's protocols -> a table and a report."""

import sys
from typing import TextIO

from facap.store import Store
from jobs.job_runner import run_tool
from jobs.job_settings import Settings


def score_submission(store: Store, settings: Settings, out: TextIO) -> None:
    """Reads submission.folder and prints its figures; the dataset is the workspace's import."""
    from facap.evaluate import submission
    from facap.evaluate.report import retrieval_tables

    metrics = submission.score(store, settings.submission, settings.evaluate)
    print(f"\n{retrieval_tables(metrics)}\n", file=out)
    print(f"figures: {store.path('reports', f'submission-{settings.submission.name}.json')}", file=out)


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, score_submission))
