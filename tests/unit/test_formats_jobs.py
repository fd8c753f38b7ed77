"""The two jobs from the command line: what they print, their exit codes, and that no engine is started."""

import subprocess
import sys
from pathlib import Path

from facap.triplets.formats import fashion_iq
from facap.triplets.formats.entries import Entry, Part
from tests.formats_data import files_of
from tests.processes import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def job(name: str, workspace: Path, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"jobs.{name}", "--workspace", str(workspace), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_dataset_goes_in_and_out_by_the_jobs(tmp_path: Path):
    fashion_iq.write(tmp_path / "in", Part("dress", "val", [Entry("a", "b", ("x", "y"))], ["a", "b", "c"]))
    workspace = tmp_path / "workspace"
    done = job(
        "import_triplets", workspace, "--imports.folder", str(tmp_path / "in"), "--imports.splits", "val"
    )
    assert done.returncode == 0, done.stderr
    assert "3 galleries, 1 triplets" in done.stdout
    assert "Ray runs" not in done.stdout
    out = ["--exports.folder", str(tmp_path / "out"), "--exports.layout", "fashion_iq"]
    done = job("export_triplets", workspace, *out)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out") == files_of(tmp_path / "in")
    done = job("export_triplets", workspace, *out)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {tmp_path / 'out'} is there already; choose another")


def test_an_unknown_layout_is_one_sentence(tmp_path: Path):
    done = job("import_triplets", tmp_path, "--imports.folder", "x", "--imports.layout", "coco")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "imports.layout" in done.stderr and "fashion_iq" in done.stderr
