"""Every case of this folder, in the order of the modules' names."""

import importlib
from pathlib import Path

from tests.outside.case import Case


def all_cases() -> list[Case]:
    """The cases of every module here that has some."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    modules = [importlib.import_module(f"tests.outside.{name}") for name in names]
    return [case for module in modules for case in getattr(module, "CASES", [])]
