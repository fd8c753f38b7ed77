"""Set-up: what is missing is said in one sentence, and the lock is what is installed here."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "dirname", "cat", "cksum", "uname", "df", "awk", "grep", "sleep")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment, and bin/ with the few tools that the script itself needs."""
    folder = tmp_path / "checkout"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "requirements" / "install.sh", folder / "requirements")
    shutil.copy(ROOT / "requirements" / "cpu.lock", folder / "requirements")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return folder


def install(checkout: Path, *tools: str, **variables: str) -> tuple[int, list[str]]:
    """Exit code and lines on standard error of install.sh with nothing else on PATH."""
    bin_folder = checkout.parent / "bin"
    for tool in tools:
        (bin_folder / tool).write_text("#!/bin/sh\nexit 0\n")
        (bin_folder / tool).chmod(0o755)
    done = subprocess.run(
        [str(checkout / "requirements" / "install.sh")],
        env={"PATH": str(bin_folder), **variables},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr.splitlines()


def test_no_python_is_said_in_one_sentence(checkout: Path):
    code, lines = install(checkout, "g++")
    assert code == 1
    assert len(lines) == 1
    assert "Python 3.11 or 3.12" in lines[0]


def test_a_python_of_another_version_is_refused(checkout: Path):
    old = checkout.parent / "bin" / "python-of-mine"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    code, lines = install(checkout, "g++", PYTHON=str(old))
    assert code == 1
    assert str(old) in lines[0]


def test_no_compiler_is_said_in_one_sentence(checkout: Path):
    code, lines = install(checkout, PYTHON=sys.executable)
    assert code == 1
    assert len(lines) == 1
    assert "C++ compiler" in lines[0]


def test_too_little_disk_is_said_in_one_sentence(checkout: Path):
    script = checkout / "requirements" / "install.sh"
    script.write_text(script.read_text().replace("NEEDED_GB=8 ", "NEEDED_GB=8000000 "))
    code, lines = install(checkout, "g++", PYTHON=sys.executable)
    assert code == 1
    assert len(lines) == 1
    assert "8000000 GB of free disk are needed" in lines[0]
    assert not (checkout / ".venv").exists()


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements" / "cpu.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins)
    return {canonical(name): pinned for name, pinned in pins}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_is_what_is_installed():
    other = {}
    for name, pinned in locked().items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "nothing"
        if found != pinned:
            other[name] = (pinned, found)
    assert other == {}


def test_the_lock_has_all_that_is_asked_for_and_none_that_breaks_transformers():
    asked = [
        canonical(re.split(r"[\[=<>#\s]", line)[0])
        for line in (ROOT / "requirements" / "cpu.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert set(asked) - set(locked()) == set()
    assert not {"torchvision", "torchaudio", "torchcodec", "vllm", "pip"} & set(locked())
    assert locked()["torch"].endswith("+cpu")


def test_make_lists_its_targets_and_ci_runs_the_tests():
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0
    for target in ("help", "quickstart", "test", "lint", "bench", "clean"):
        assert f"make {target} " in done.stdout
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_no_index_is_named_but_pytorchs_own():
    named = set()
    for path in [
        *ROOT.glob("requirements/*"),
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
        *(path for path in ROOT.glob("cluster/**/*") if path.is_file()),
    ]:
        named |= set(re.findall(r"--(?:extra-)?index-url[ =]\S+|https?://[\w.]+/whl\S*", path.read_text()))
    assert named == {'--extra-index-url "$TORCH_CPU_INDEX"', "https://download.pytorch.org/whl/cpu"}
