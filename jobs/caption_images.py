"""Describes every kept image with the VLM in vLLM -> CAPTIONS."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def caption_images(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.annotate import caption_pipeline

    return caption_pipeline.run(store, settings.caption, progress)


if __name__ == "__main__":
    sys.exit(run_job("caption", __doc__, caption_images))
