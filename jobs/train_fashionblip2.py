"""Fine-tunes FashionBLIP-2 on TRIPLETS with Ray Train and FSDP -> the model."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def train_fashionblip2(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.train import pipeline

    return pipeline.run(store, settings.train, progress)


if __name__ == "__main__":
    sys.exit(run_job("train", __doc__, train_fashionblip2))
