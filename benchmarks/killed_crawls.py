"""Crawls that are killed at random moments, resumed, and compared with one that was left in peace.

    results = measure(folder, ["worker", "driver"], seed=1)
    [r["equal"] for r in results], [r["done"] for r in results]     # rows in the store when the kill came

A worker is killed alone, and the crawl is expected to go on by itself; with the driver all of its Ray is
killed, and the same command is run again. Several hosts, redirects between them and dead links included.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from benchmarks.polite_hosts import serving, write_items
from facap.crawl.config import CrawlConfig
from facap.store import Store

SIZES = (160, 120, 60, 20)  # pictures of each host: about eight seconds at RATE
RATE = 20.0
KINDS = ("picture",) * 7 + ("moved", "missing", "picture")
TIMEOUT_S = 300


def measure(folder: Path, kills: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """One result a kill ("worker" or "driver"): rows there when it came, and whether the end is `equal`."""
    moments = random.Random(seed)
    with serving(folder / "requests.json") as port:
        started = time.monotonic()
        first_part_s, whole = _undisturbed(_workspace(folder / "peace", port))
        crawl_s = time.monotonic() - started - first_part_s
        results = []
        for number, kill in enumerate(kills):
            workspace = _workspace(folder / f"{number}-{kill}", port)
            after_s = moments.uniform(0.0, 0.5) * crawl_s
            done = _killed(workspace, kill, after_s)
            found = _rows(workspace)
            results.append(
                {"kill": kill, "after_s": round(after_s, 2), "done": done, "rows": found.num_rows}
                | {"equal": found.equals(whole)}
            )
    return results


def _workspace(path: Path, port: int) -> Path:
    hosts = [f"127.0.0.{n}:{port}" for n in range(1, len(SIZES) + 1)]
    write_items(Store(str(path)), hosts, SIZES, KINDS)
    return path


def _undisturbed(workspace: Path) -> tuple[float, pa.Table]:
    started = time.monotonic()
    process = _start(workspace)
    try:
        _wait_for_part(process, workspace)
        first_part_s = time.monotonic() - started
        _finish(process)
    finally:
        _end(process)
    return first_part_s, _rows(workspace)


def _killed(workspace: Path, kill: str, after_s: float) -> int:
    """Crawls, kills `after_s` after the first part, crawls to the end; returns the rows there at the kill."""
    process = _start(workspace)
    try:
        _wait_for_part(process, workspace)
        time.sleep(after_s)
        if kill == "driver":
            _end(process)
            done = _num_rows(workspace)
            process = _start(workspace)
        else:
            done = _num_rows(workspace)
            workers = [
                p for p in psutil.Process(process.pid).children(recursive=True) if "Crawl" in _title(p)
            ]
            random.choice(workers).kill()
        _finish(process)
    finally:
        _end(process)
    return done


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def _start(workspace: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.killed_crawls", str(workspace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, Ray's processes included
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )


def _wait_for_part(process: subprocess.Popen, workspace: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not list(workspace.glob("images/data-*/part-*.parquet")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the crawl wrote nothing: {process.communicate(timeout=5)[0]}")
        time.sleep(0.02)


def _finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    if process.returncode:
        raise RuntimeError(f"the crawl ended with code {process.returncode}: {output}")


def _end(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(30)


def _num_rows(workspace: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(p).metadata.num_rows for p in workspace.glob("images/data-*/*.parquet"))


def _rows(workspace: Path) -> pa.Table:
    """The finished dataset but for the moments of fetching, in the order of its items."""
    rows = Store(str(workspace)).read("images").drop_columns(["fetched_at", "latency_ms"]).sort_by("item_id")
    return rows.combine_chunks()


def crawl(workspace: str) -> None:
    """The process that is killed."""
    import ray

    from facap.crawl import pipeline
    from facap.progress import Progress

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        object_store_memory=300 * 2**20,
    )  # fmt: skip
    config = CrawlConfig(allow_networks=("127.0.0.0/8",), max_rate_per_host=RATE, num_workers=2, batch_size=8)
    pipeline.run(Store(workspace), config, Progress("crawl"))


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    crawl(sys.argv[1])
