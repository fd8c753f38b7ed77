"""The study (docs/study.md): FashionBLIP-2 against what it is compared with, three seeds, with intervals.

    $ make bench NAME=study               # an hour and a half on two cores; ARGS="--study.steps 20" for a try

The figures are those of jobs.run_study on a workspace of its own, or on the one that `--workspace` names.
"""

import json
import sys
import tempfile

from facap.store import Store
from jobs.job_runner import run_jobs
from jobs.run_study import run_study


def main() -> None:
    """Runs the job; the last line is one JSON object."""
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder:
        workspace = given[given.index("--workspace") + 1] if "--workspace" in given else folder
        words = given if "--workspace" in given else ["--workspace", folder, *given]
        if code := run_jobs(__doc__, {"study": run_study}, argv=words):
            raise SystemExit(code)
        print(json.dumps(Store(workspace).require("study").extra))


if __name__ == "__main__":
    main()
