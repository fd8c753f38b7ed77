"""Says what a training will need, without running it: parameters, memory a worker, operations a step."""

import sys
from typing import TextIO

from facap.store import Store
from jobs.job_runner import run_tool
from jobs.job_settings import Settings


def plan_training(store: Store, settings: Settings, out: TextIO) -> None:
    """Prints the plan; the workspace is not looked at."""
    from facap.train.budget import plan

    print("\n".join(plan(settings.train).lines()), file=out)


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, plan_training))
