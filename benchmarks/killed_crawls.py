"""Crawls that are killed at random moments, resumed, and compared with one that was left in peace.

    results = measure(folder, ["worker", "driver"], seed=1)         # Ray must be up
    [r["equal"] for r in results], [r["done"] for r in results]     # rows in the store when the kill came

A worker is killed alone, and the crawl is expected to go on by itself. A driver is a process with a Ray of
its own, all of which is killed; the same crawl is then run again. Several hosts, redirects between them and
dead links included.
"""

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from benchmarks.polite_hosts import serving, write_items
from facap.crawl import pipeline
from facap.crawl.config import CrawlConfig
from facap.progress import Progress
from facap.store import Store

SIZES = (160, 120, 60, 20)  # pictures of each host: about four seconds at RATE
RATE = 40.0
KINDS = ("picture",) * 7 + ("moved", "missing", "picture")
CONFIG = CrawlConfig(allow_networks=("127.0.0.0/8",), max_rate_per_host=RATE, num_workers=2, batch_size=8)
TIMEOUT_S = 1200


def measure(folder: Path, kills: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """One result a kill ("worker" or "driver"): rows there when it came, and whether the end is `equal`."""
    moments = random.Random(seed)
    with serving(folder / "requests.json") as port:
        whole = _crawled(_workspace(folder / "peace", port))
        results = []
        for number, kill in enumerate(kills):
            workspace = _workspace(folder / f"{number}-{kill}", port)
            after_s = moments.uniform(0.0, 0.5) * max(SIZES) / RATE
            done = (_kill_driver if kill == "driver" else _kill_worker)(workspace, after_s)
            found = _crawled(workspace)
            results.append(
                {"kill": kill, "after_s": round(after_s, 2), "done": done, "rows": found.num_rows}
                | {"equal": found.equals(whole)}
            )
    return results


def _workspace(path: Path, port: int) -> Path:
    hosts = [f"127.0.0.{n}:{port}" for n in range(1, len(SIZES) + 1)]
    write_items(Store(str(path)), hosts, SIZES, KINDS)
    return path


def _crawled(workspace: Path) -> pa.Table:
    """Crawls what is left; the dataset but for the moments of fetching, in the order of its items."""
    store = Store(str(workspace))
    pipeline.run(store, CONFIG, Progress("crawl", io.StringIO()))
    rows = store.read("images").drop_columns(["fetched_at", "latency_ms"]).sort_by("item_id")
    return rows.combine_chunks()


def _kill_driver(workspace: Path, after_s: float) -> int:
    """Kills a crawl of its own, with its Ray, `after_s` after its first part; returns the rows there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.killed_crawls", str(workspace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, Ray's processes included
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not _num_rows(workspace):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the crawl wrote nothing: {process.communicate(timeout=5)[0]}")
            time.sleep(0.02)
        time.sleep(after_s)
        if process.poll() is not None:
            raise RuntimeError(f"the crawl ended before it was killed: {process.communicate(timeout=5)[0]}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    return _num_rows(workspace)


def _kill_worker(workspace: Path, after_s: float) -> int:
    """Crawls in the Ray of this process while one of its workers is killed; returns the rows there then."""
    done: list[int] = []

    def kill() -> None:
        while not _num_rows(workspace):
            time.sleep(0.02)
        time.sleep(after_s)
        done.append(_num_rows(workspace))
        workers = [p for p in psutil.Process().children(recursive=True) if "Crawl" in _title(p)]
        random.choice(workers).kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    _crawled(workspace)
    killer.join(10)
    return done[0]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def _num_rows(workspace: Path) -> int:
    import pyarrow.parquet as pq

    parts = workspace.glob("images/data-*/part-*.parquet")
    return sum(pq.ParquetFile(part).metadata.num_rows for part in parts)


def crawl(workspace: Path) -> None:
    """The process that is killed."""
    import ray

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        object_store_memory=300 * 2**20,
    )  # fmt: skip
    _crawled(workspace)


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    crawl(Path(sys.argv[1]))
