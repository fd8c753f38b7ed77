"""Draws TRIPLETS and makes the page on which a person marks them good or bad -> reports/review.html."""

import sys
from typing import TextIO

from facap.store import Store
from jobs.job_runner import run_tool
from jobs.job_settings import Settings


def review_triplets(store: Store, settings: Settings, out: TextIO) -> None:
    """Writes the page and says where it is."""
    from facap.review.page import build

    built = build(store, settings.review)
    lost = f"; {built.lost} more have no picture in IMAGES" if built.lost else ""
    print(f"{built.shown} of {built.usable:,} triplets{lost}: {built.address}", file=out)
    print(
        "open it in a browser, mark, export, then: python -m jobs.score_review --review.marks FILE", file=out
    )


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, review_triplets))
