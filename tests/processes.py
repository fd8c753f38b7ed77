"""Jobs that are started as a user starts them, killed with all that they started, or waited for."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.ports import free_ports as free_ports

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 1200  # ends a test that waits in vain; ten times what the longest wait takes, for busy machines


def start(module: str, flags: dict[str, object], log: Path, **variables: str) -> subprocess.Popen:
    """`python -m module --key value ...`, its output in `log`."""
    told = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in flags.items()
    }
    words = [word for key, value in told.items() for word in (f"--{key}", value)]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | variables
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
        )


def kill_everything(process: subprocess.Popen) -> None:
    """SIGKILL to the process and to all that it started, Ray's own processes included."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=PATIENCE_S)
    process.wait(timeout=PATIENCE_S)


def wait_until(
    ready: Callable[[], bool],
    process: subprocess.Popen,
    log: Path,
    every_s: float = 0.02,
    timeout_s: float = PATIENCE_S,
) -> None:
    """Returns as soon as `ready`; an AssertionError with the process's output if it ends before that."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert process.poll() is None, f"ended before it was ready:\n{log.read_text()}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not reached in {timeout_s} s:\n{log.read_text()}")
        time.sleep(every_s)


def kill_when(
    process: subprocess.Popen, ready: Callable[[], bool], log: Path, timeout_s: float = PATIENCE_S
) -> None:
    """Kills the process as soon as `ready`, and in any case; an AssertionError as wait_until raises it."""
    try:
        wait_until(ready, process, log, timeout_s=timeout_s)
        assert process.poll() is None, f"ended before it could be killed:\n{log.read_text()}"
    finally:
        if process.poll() is None:
            kill_everything(process)


def half_done(workspace: Path, name: str) -> Callable[[], bool]:
    """Whether the dataset `name` has parts and is not finished."""
    folder = workspace / name
    return lambda: any(folder.glob("data-*/part-*.parquet")) and not (folder / "manifest.json").exists()


def after(ready: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """A started thread that acts as soon as `ready`."""

    def watch() -> None:
        while not ready():
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
