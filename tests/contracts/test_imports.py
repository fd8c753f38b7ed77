"""Who imports whom: read from the source with ast, and from what importing does in a fresh interpreter."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACAP = ROOT / "platform" / "facap"
CORE = {
    "schemas",
    "store",
    "lease",
    "config",
    "environment",
    "errors",
    "failures",
    "forms",
    "progress",
    "quoting",
    "dataflow",
    "tracking",
    "reports",
    "splits",
    "texts",
}
SHARED = CORE | {"model"}  # what every stage may use
ALSO = {
    # the shipped models are trained on rendered garments, outside any run, and to answer as annotate asks
    "tiny": {"catalog", "annotate"},
    # trains and scores variants on rendered garments, outside any run, with texts by the stages of one
    "study": {"catalog", "annotate", "verify", "train", "evaluate"},
    "verify": {"annotate", "evaluate"},  # asks as annotate does, reads its taxonomy, ranks as evaluate does
}
STAGES = {p.name for p in FACAP.iterdir() if (p / "__init__.py").exists()} - {"model"}
HEAVY = ("ray", "torch", "vllm", "mlflow", "transformers", "faiss", "aiohttp")


def module_name(path: Path) -> str:
    root = FACAP.parent if path.is_relative_to(FACAP) else ROOT
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, in functions too; relative ones made absolute."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from facap import store` names facap.store, `from facap.store import Store` facap.store.Store
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def facap_parts(path: Path) -> set[str]:
    """The modules and packages just below facap that a file imports."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("facap.")}
    return names & ({p.stem for p in FACAP.glob("*.py")} | STAGES | {"model"})


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_walk_sees_each_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = FACAP / "crawl" / "made_up.py"
    text = (
        "import facap.store\nfrom facap import config\nfrom facap.annotate.config import X\n"
        "from . import images\nfrom ..model import encoder\ndef f():\n    import ray\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert imports(file) == {
        "facap.store",
        "facap.config",
        "facap.annotate.config.X",
        "facap.crawl.images",
        "facap.model.encoder",
        "ray",
    }
    assert facap_parts(file) == {"store", "config", "annotate", "crawl", "model"}


@pytest.mark.parametrize("path", sources(*(FACAP / stage for stage in sorted(STAGES))), ids=short)
def test_a_stage_imports_the_contracts_and_itself_never_another_stage(path: Path):
    stage = path.relative_to(FACAP).parts[0]
    assert facap_parts(path) - SHARED - {stage} - ALSO.get(stage, set()) == set()


@pytest.mark.parametrize("path", [*sources(FACAP / "model"), *sorted(FACAP.glob("*.py"))], ids=short)
def test_the_core_and_the_model_know_no_stage(path: Path):
    assert facap_parts(path) & STAGES == set()
    if path.parent == FACAP:
        assert "model" not in facap_parts(path)


@pytest.mark.parametrize("path", sources(FACAP), ids=short)
def test_the_package_knows_neither_jobs_nor_the_serving_application(path: Path):
    outside = {name.split(".")[0] for name in imports(path)} & {"jobs", "serve_app", "tests", "benchmarks"}
    assert outside == set()


def imported_by(modules: list[str], folder: Path) -> dict[str, dict]:
    """What a fresh interpreter in `folder` has after each import: libraries, new files and handlers."""
    script = (
        "import importlib, json, logging, os, sys\n"
        "handlers = list(logging.getLogger().handlers)\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        f"    heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print(json.dumps([module, {'heavy': heavy, 'files': os.listdir('.'),\n"
        "        'handlers': len(logging.getLogger().handlers) - len(handlers),\n"
        "        'ray': 'ray' in sys.modules and sys.modules['ray'].is_initialized()}]))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{FACAP.parent}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(modules), f"importing printed: {lines}"
    return dict(json.loads(line) for line in lines)


def test_settings_are_light_to_import(tmp_path: Path):
    modules = [module_name(p) for p in [FACAP / "config.py", *sorted(FACAP.glob("*/config.py"))]]
    seen = imported_by(modules, tmp_path)
    assert {name: found["heavy"] for name, found in seen.items()} == {name: [] for name in modules}


def test_importing_a_job_does_nothing(tmp_path: Path):
    modules = [module_name(p) for p in sources(ROOT / "jobs")]
    for name, seen in imported_by(modules, tmp_path).items():
        assert (seen["files"], seen["handlers"], seen["ray"]) == ([], 0, False), name


@pytest.mark.parametrize("path", sources(ROOT / "jobs"), ids=short)
def test_jobs_are_named_verb_noun_and_shadow_no_library(path: Path):
    """`python jobs/x.py` puts jobs/ first on sys.path."""
    assert path.stem == "__init__" or "_" in path.stem or path.stem == "quickstart"
