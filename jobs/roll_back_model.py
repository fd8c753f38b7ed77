"""Makes the version before the champion the champion again, for the next index and service."""

import sys
from typing import TextIO

from facap.store import Store
from jobs.job_runner import run_tool
from jobs.job_settings import Settings


def roll_back_model(store: Store, settings: Settings, out: TextIO) -> None:
    """The aliases champion and previous change places."""
    from facap.registry.versions import roll_back
    from facap.tracking import open_client

    name = settings.registry.name
    now, before = roll_back(open_client(store, settings.registry.mlflow_uri), name)
    print(f"version {now} of {name} is the champion again, {before} is the previous one", file=out)
    print("run jobs.build_index and jobs.serve_search to serve it", file=out)


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, roll_back_model))
