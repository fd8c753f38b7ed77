"""Trains the tiny models that ship with facap, from rendered garments; about an hour on two cores."""

import sys

from facap.config import parse
from facap.environment import set_here
from facap.errors import FacapError
from facap.progress import Progress
from facap.tiny.config import TinyConfig
from jobs.job_settings import program


def main() -> int:
    """Trains, prints what was measured, and returns the exit code."""
    set_here()
    try:
        config = parse(TinyConfig, sys.argv[1:], program(), __doc__ or "")
        from facap.tiny import pipeline

        for model, figures in pipeline.run(config, Progress("tiny")).items():
            print(f"{model}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    except FacapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
