"""Compares the marks that reviewers exported with TRIPLETS' score -> reports/agreement.json, and in words."""

import sys
from typing import TextIO

from facap.store import Store
from jobs.job_runner import run_tool
from jobs.job_settings import Settings


def score_review(store: Store, settings: Settings, out: TextIO) -> None:
    """Reads the files of review.marks and prints how far the score agrees with them."""
    from facap.review import scoring

    figures = scoring.score(store, settings.review)
    print(f"\n{scoring.in_words(figures)}\n", file=out)
    print(f"figures: {store.path('reports', scoring.NAME + '.json')}", file=out)


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, score_review))
