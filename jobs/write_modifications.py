"""Writes each pair's modification text with the LLM in vLLM -> TRIPLETS."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def write_modifications(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.annotate import modify_pipeline

    return modify_pipeline.run(store, settings.modify, progress)


if __name__ == "__main__":
    sys.exit(run_job("modify", __doc__, write_modifications))
