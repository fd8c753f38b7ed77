"""Holds two models against each other on the same queries -> paired differences and a page side by side."""

import sys
from typing import TYPE_CHECKING, TextIO

from facap.progress import Progress
from facap.store import Store
from jobs.job_runner import ray_session, run_tool
from jobs.job_settings import Settings

if TYPE_CHECKING:
    from facap.evaluate.compare import Compared


def compare_models(store: Store, settings: Settings, out: TextIO) -> None:
    """compare.first against compare.second, under evaluate's settings."""
    from facap import reports
    from facap.evaluate import compare
    from facap.evaluate.report import retrieval_tables
    from facap.schemas import METRICS, from_rows

    first, second = (_found(store, settings, n) for n in (settings.compare.first, settings.compare.second))
    with ray_session(out):
        figures = compare.compare(store, (first, second), settings.evaluate, Progress("compare", out))
    print(f"\n{retrieval_tables(from_rows(figures['metrics'], METRICS))}\n", file=out)
    print(f"{compare.difference_table(figures)}\n", file=out)
    print(f"pictures: {reports.address(store, compare.NAME)}", file=out)


def _found(store: Store, settings: Settings, name: str) -> "Compared":
    """The model that a setting names."""
    from facap.evaluate.compare import Compared
    from facap.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, load_version
    from facap.tracking import open_client

    if name == "model":
        store.require("model")
        return Compared("model", store.folder("model"))
    if name.isdigit() or name in (CHAMPION, PREVIOUS, CHALLENGER):
        client = open_client(store, settings.registry.mlflow_uri)
        found = load_version(
            client, settings.registry.name, store.path("champions") if store.is_local else "champions", name
        )
        return Compared(
            f"version {found.version}" if name.isdigit() else f"{name} v{found.version}", found.path
        )
    return Compared(name, name)


if __name__ == "__main__":
    sys.exit(run_tool(__doc__, compare_models))
