"""What comes from outside: other people's files, servers, pictures and models, and README's cluster command.

    $ make bench NAME=outside       # about six minutes; ARGS="--without_cluster" for one

- `cases`: inputs of tests/outside with a right result, by kind; those that are given beside the checkout only
  where they are there. `cases_right` of them come out as they should.
- `answers_tried`: raw answers of models, as public ones write them; `answers_wrong` of them are read wrongly.
- `endpoint_modes`: ways in which a server answers, each a run of the modify stage; `endpoint_stops` of them
  stop it though they should not, `endpoint_wrong` end otherwise than they should.
- `cluster_nodes`: of a cluster with a token, on which README's command runs the whole pipeline while the node
  of the vLLM engine is killed; `cluster_stages_done` of its ten stages are done.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from jobs.job_runner import ray_session
from tests.outside import answers, endpoints
from tests.outside.everything import all_cases
from tests.readme_cluster import NODES, copy_repository, run_pipeline, three_nodes


def cases(folder: Path) -> dict[str, Any]:
    """Every case once, each in a folder of its own."""
    tried, right = Counter[str](), Counter[str]()
    for number, case in enumerate(all_cases()):
        if not case.there:
            print(f"not here: {case}")
            continue
        place = folder / str(number)
        place.mkdir()
        tried[case.kind] += 1
        try:
            seen = case.seen(place)
        except Exception as error:  # a traceback is a wrong result like any other
            seen = error
        if seen == case.expected:
            right[case.kind] += 1
        else:
            print(f"wrong: {case}: {seen!r} for {case.expected!r}")
    return {
        "cases": tried.total(),
        "cases_right": right.total(),
        "cases_by_kind": {kind: [right[kind], number] for kind, number in sorted(tried.items())},
    }


def read_answers() -> dict[str, Any]:
    """Every raw answer through the parser of its stage."""
    tried = [*answers.ANSWERS, *answers.GIVEN_ANSWERS]
    wrong = [one for one in tried if answers.status_and_text(one.kind, one.raw) != (one.status, one.text)]
    for one in wrong:
        print(f"wrong: answer {one}")
    return {"answers_tried": len(tried), "answers_wrong": len(wrong)}


def ask_endpoints(folder: Path) -> dict[str, Any]:
    """A run of the modify stage for every way in which a server answers."""
    with ray_session(sys.stdout):
        seen = endpoints.outcomes(folder)
    stops, wrong = [], []
    for mode, expected in endpoints.EXPECTED.items():
        outcome = seen[mode]
        if isinstance(outcome, str) and not isinstance(expected, str):
            stops.append(mode)
        elif not (expected in outcome if isinstance(expected, str) else outcome == expected):
            wrong.append(mode)
    for mode in stops + wrong:
        print(f"wrong: endpoint {mode}: {seen[mode]}")
    return {"endpoint_modes": len(seen), "endpoint_stops": len(stops), "endpoint_wrong": len(wrong)}


def submit(folder: Path) -> dict[str, Any]:
    """README's cluster section."""
    with three_nodes(copy_repository(folder)) as nodes:
        run = run_pipeline(nodes)
    print(run.output)
    reports = json.loads(Path(run.store.path("logs", "stages.json")).read_text()) if run.code == 0 else []
    return {
        "cluster_nodes": 1 + len(NODES),
        "cluster_nodes_killed": 1,
        "cluster_stages_done": len(reports),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--without_cluster", action="store_true", help="leave out the three nodes")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="facap-") as name:
        folder = Path(name)
        for part in ("cases", "endpoints", "cluster"):
            (folder / part).mkdir()
        figures |= cases(folder / "cases") | read_answers() | ask_endpoints(folder / "endpoints")
        if not given.without_cluster:
            figures |= submit(folder / "cluster")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
