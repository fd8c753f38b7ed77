"""What the repository is made of: top-level names, sizes, and that every test asserts something."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "platform" / "facap" / "weights"
TOP_LEVEL = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "cluster",
    "docs",
    "jobs",
    "platform",
    "pyproject.toml",
    "requirements",
    "serve_app",
    "tests",
}
LARGEST_FILE = 8 * 2**20
LARGEST_WEIGHTS = 25 * 2**20


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git tracks."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: nothing says which files belong to the repository")
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True)
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).exists()]


def test_platform_is_a_source_root_and_shadows_nothing():
    assert not (ROOT / "platform" / "__init__.py").exists()
    script = (
        "import sys; sys.path.insert(0, '.'); import platform; print(platform.system(), platform.__file__)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(ROOT / "platform") not in done.stdout


def test_top_level_names(tracked: list[Path]):
    assert {path.relative_to(ROOT).parts[0] for path in tracked} <= TOP_LEVEL


def test_no_file_is_large(tracked: list[Path]):
    large = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked if p.stat().st_size > LARGEST_FILE}
    assert large == {}


def test_the_shipped_models_stay_small(tracked: list[Path]):
    assert sum(p.stat().st_size for p in tracked if p.is_relative_to(WEIGHTS)) <= LARGEST_WEIGHTS


def test_nothing_that_is_made_is_tracked(tracked: list[Path]):
    made = {".venv", "workspace", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "mlruns"}
    assert [p for p in tracked if made & set(p.relative_to(ROOT).parts) or p.suffix == ".pyc"] == []


def test_packages_have_an_init_file(tracked: list[Path]):
    folders = {
        p.parent for p in tracked if p.suffix == ".py" and p.is_relative_to(ROOT / "platform" / "facap")
    }
    folders |= {p.parent for p in tracked if p.suffix == ".py" and p.parent.name in ("jobs", "serve_app")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def asserts(function: ast.AST) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.startswith(
                ("pytest.raises", "pytest.warns", "expect", "np.testing.", "check_", "assert_")
            ):
                return True
            if ".assert_" in name or "testing." in name:
                return True
    return False


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda p: str(p.relative_to(ROOT / "tests"))
)
def test_every_test_file_asserts(path: Path):
    tree = ast.parse(path.read_text())
    tests = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("test")]
    assert tests, "a test file without a test"
    assert any(asserts(test) for test in tests)


def test_every_dataset_is_committed_with_the_rows_that_are_expected():
    """`commit` cannot know what went into a stage; only artefacts, which are files, have no rows."""
    artefacts = {
        "study/pipeline.py",
        "catalog/demo.py",
        "train/pipeline.py",
        "registry/pipeline.py",
        "index/pipeline.py",
    }
    facap = ROOT / "platform" / "facap"
    without = set()
    for path in facap.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                told = {word.arg for word in node.keywords}
                if node.func.attr == "commit" and "expected" not in told:
                    without.add(str(path.relative_to(facap)))
    assert without == artefacts
