"""Two real jobs on one workspace: the second is refused, and what a killed one left is gone on with."""

import signal
import subprocess
from pathlib import Path

import pytest

from facap.store import Store
from facap.triplets.formats import fashion_iq
from facap.triplets.formats.entries import Entry, Part
from tests import processes
from tests.unit.test_formats_pictures import picture

pytestmark = pytest.mark.slow
NUM_IMAGES = 300


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    names = [f"B{n:03}" for n in range(NUM_IMAGES)]
    entries = [Entry(names[n], names[n + 1], ("is red", "longer")) for n in range(NUM_IMAGES - 1)]
    fashion_iq.write(tmp_path / "set", Part("shirt", "val", entries, names))
    (tmp_path / "set" / "images").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "set" / "images" / f"{name}.jpg").write_bytes(picture(number, side=512))
    return tmp_path / "workspace"


def start(workspace: Path, name: str) -> tuple[subprocess.Popen, Path]:
    folder, log = workspace.parent / "set", workspace.parent / f"{name}.txt"
    flags: dict[str, object] = {"workspace": workspace, "imports.layout": "fashion_iq"}
    flags |= {"imports.folder": folder, "imports.images": folder / "images", "imports.batch_size": 2}
    return processes.start("jobs.import_triplets", flags, log), log


def stop_when_half_done(process: subprocess.Popen, workspace: Path, log: Path) -> None:
    half_done = processes.half_done(workspace, "images")
    while not half_done():
        assert process.poll() is None, log.read_text()
    process.send_signal(signal.SIGSTOP)
    assert half_done(), "it was quicker than this test"


def check_rows(workspace: Path) -> None:
    store = Store(str(workspace))
    ids = store.read("images", ["item_id"]).column(0).to_pylist()
    assert len(ids) == len(set(ids)) == NUM_IMAGES
    assert store.require("images").counts == {"ok": NUM_IMAGES}
    assert store.require("triplets").rows == NUM_IMAGES - 1
    assert list(workspace.rglob("lease-*")) == []


def test_the_second_job_is_refused_and_takes_nothing_from_the_first(workspace: Path):
    first, log = start(workspace, "first")
    try:
        stop_when_half_done(first, workspace, log)
        parts = {path.name for path in workspace.glob("images/data-*/*.parquet")}
        second, said = start(workspace, "second")
        assert second.wait(timeout=120) == 1, said.read_text()
        (error,) = [line for line in said.read_text().splitlines() if line.startswith("error: ")]
        assert "is being made by another run" in error and f"process {first.pid} on " in error
        assert parts == {path.name for path in workspace.glob("images/data-*/*.parquet")}
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=300) == 0, log.read_text()
    finally:
        first.kill()
        first.wait()
    check_rows(workspace)


def test_a_job_that_was_killed_is_gone_on_with_at_once(workspace: Path):
    first, log = start(workspace, "first")
    stop_when_half_done(first, workspace, log)
    processes.kill_everything(first)
    parts = {path.name for path in workspace.glob("images/data-*/part-*.parquet")}
    assert len(list(workspace.glob("images/lease-*"))) == 1
    second, said = start(workspace, "second")
    assert second.wait(timeout=300) == 0, said.read_text()
    assert parts <= {path.name for path in workspace.glob("images/data-*/part-*.parquet")}
    check_rows(workspace)
