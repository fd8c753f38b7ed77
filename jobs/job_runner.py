"""What every job does around its stage: settings, workspace, Ray, the log files, errors as one sentence.

A job is a function `(store, settings, progress) -> StageReport`; `run_job` gives it what it needs
and turns a FacapError into exit code 1. Inside `ray job submit`, or with RAY_ADDRESS set, it joins
that cluster; otherwise it starts a Ray of its own on this machine. `run_tool` is for what is no
stage and needs no Ray.
"""

import contextlib
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from facap.environment import of_workers, set_here
from facap.errors import FacapError, ResourceError
from facap.progress import Progress, StageReport, table
from facap.quoting import printable
from facap.store import Store
from jobs import shipped_models
from jobs.job_settings import Settings, load_settings, program

Job = Callable[[Store, Settings, Progress], StageReport]
NEEDED_GIB = 5.0  # vLLM, Ray and a training run side by side on the embedded size, measured
OBJECT_STORE_BYTES = 1024**3


Afterwards = Callable[[Store, Settings, TextIO], None]


def run_job(stage: str, description: str | None, job: Job, engines: bool = True) -> int:
    """Runs one job; returns its exit code."""
    return run_jobs(description, {stage: job}, engines=engines)


def run_jobs(
    description: str | None,
    jobs: Mapping[str, Job],
    afterwards: Afterwards | None = None,
    argv: Sequence[str] | None = None,
    engines: bool = True,
) -> int:
    """Runs `jobs` (stage -> job) in order, prints the stage table, then calls `afterwards`
    with the screen to print to.

    Ray is up throughout; without `engines` it is not started, nor is its memory asked for. Returns the exit
    code: 0, 1 after an error, 130 after Ctrl-C.
    """

    def work(store: Store, settings: Settings, out: TextIO) -> None:
        with ray_session(out) if engines else contextlib.nullcontext():
            reports = []
            for number, (stage, job) in enumerate(jobs.items(), 1):
                print(f"[{number}/{len(jobs)}] {stage}: {_headline(job)}", file=out)
                reports.append(job(store, settings, Progress(stage, out)))
                print(f"  {stage:<9} {_outcome(reports[-1])}", file=out)
            print("\n" + table(reports) + "\n", file=out)
            keep(store, reports)
            if afterwards is not None:
                afterwards(store, settings, out)

    def check(store: Store, settings: Settings) -> None:
        shipped_models.check(list(jobs), store, settings)
        if engines:
            check_memory()

    return _run(description, work, argv, check)


def run_tool(description: str | None, tool: Afterwards, argv: Sequence[str] | None = None) -> int:
    """Runs what is no stage and needs no Ray; settings, log, errors and exit codes as with `run_jobs`."""
    return _run(description, tool, argv)


def _run(
    description: str | None,
    work: Afterwards,
    argv: Sequence[str] | None,
    check: Callable[[Store, Settings], None] = lambda store, settings: None,
) -> int:
    """Calls `work` with a workspace that can be written; every error is one sentence on the screen."""
    screen = sys.stderr
    try:
        set_here()
        words = list(sys.argv[1:] if argv is None else argv)
        settings = load_settings(words, program(), description or "")
        store = Store(settings.workspace)
        store.check_writable()
        check(store, settings)
        with noise_to_file(store) as (out, screen):
            work(store, settings, out)
        return 0
    except FacapError as error:
        lines = [printable(line) for line in str(error).split("\n")]
        print("error: " + "\n".join(lines), file=screen, flush=True)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command to go on where it stopped", file=screen, flush=True)
        return 130
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"error: unexpected {type(error).__name__}: {str(error).strip().splitlines()[:1]} "
            f"({Path(where.filename).name}:{where.lineno}); finished work is kept, the trace is in the log",
            file=screen,
            flush=True,
        )
        return 1


def _headline(job: Job) -> str:
    return (sys.modules[job.__module__].__doc__ or "").strip().splitlines()[0]


def _outcome(report: StageReport) -> str:
    if report.reused:
        return "done before, nothing to do"
    return f"{report.rows_out:,} rows in {report.seconds:.1f} s" + (f"; {report.note}" if report.note else "")


def keep(store: Store, reports: Sequence[StageReport]) -> None:
    """Writes the stage table as JSON to logs/stages.json, for benchmarks and dashboards."""
    path = log_folder(store) / "stages.json"
    path.write_text(json.dumps([asdict(report) for report in reports], indent=1) + "\n")


def log_folder(store: Store) -> Path:
    """<workspace>/logs, made if need be; ./logs for a workspace that is not on this machine."""
    folder = Path(store.path("logs") if store.is_local else "logs")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_memory() -> None:
    """Raises ResourceError if this machine has too little free memory for the engines."""
    import psutil

    free = psutil.virtual_memory().available / 1024**3
    if free < NEEDED_GIB:
        raise ResourceError(
            f"{NEEDED_GIB:.0f} GiB of free memory are needed, {free:.1f} are there; close other programs"
        )


@contextlib.contextmanager
def noise_to_file(store: Store) -> Iterator[tuple[TextIO, TextIO]]:
    """Yields the screen's stdout and stderr, for what jobs say. All else that this process, its threads,
    its C++ parts and its children write to stdout or stderr goes to logs/driver.log."""
    folder = log_folder(store)
    sys.stdout.flush()
    sys.stderr.flush()
    screens = [
        os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace") for number in (1, 2)
    ]  # a terminal that knows few characters ends no job
    with (folder / "driver.log").open("a") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    warnings.simplefilter("ignore")
    try:
        print(f"logs of this run: {folder}/driver.log", file=screens[0])
        yield screens[0], screens[1]
    except Exception:
        traceback.print_exc()  # the screen gets one sentence
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, screen in zip((1, 2), screens, strict=True):
            os.dup2(screen.fileno(), number)


@contextlib.contextmanager
def ray_session(out: TextIO) -> Iterator[None]:
    """Joins the cluster that RAY_ADDRESS names, or starts Ray on this machine until the block ends."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ parts write to this process's output
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # 30 s is not enough on a busy machine
    import ray
    from ray.data import DataContext

    if os.environ.get("RAY_ADDRESS"):
        ray.init(
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": of_workers()},
        )
        where = "the cluster at " + os.environ["RAY_ADDRESS"]
    else:
        os.environ["RAY_AUTH_MODE"] = "disabled"  # bound to this machine and gone with this process
        ray.init(
            address="local",
            num_cpus=max(2, os.cpu_count() or 2),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=OBJECT_STORE_BYTES,
        )
        where = "this machine"
    session = ray._private.worker._global_node.get_logs_dir_path()  # type: ignore[attr-defined]
    print(f"Ray runs on {where}; logs of its workers and of vLLM: {session}", file=out)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()
