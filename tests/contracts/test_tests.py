"""What tests are held to, so that the suite passes on a slow machine, on a busy one, and beside itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(TESTS.rglob("*.py"))
CLOCKS = {"monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns"}


def names_of_times(tree: ast.AST) -> set[str]:
    """The names that something from a clock of the wall is assigned to."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(is_clock(inner) for inner in ast.walk(node.value)):
            found |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def is_clock(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute):
        return called.attr in CLOCKS and isinstance(called.value, ast.Name) and called.value.id == "time"
    return isinstance(called, ast.Name) and called.id in CLOCKS


def timed_asserts(source: str) -> Iterator[int]:
    """Lines of the assertions that compare what a clock of the wall says."""
    tree = ast.parse(source)
    times = names_of_times(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and any(
            is_clock(inner) or (isinstance(inner, ast.Name) and inner.id in times)
            for inner in ast.walk(node.test)
        ):
            yield node.lineno


def closed_ports(source: str) -> Iterator[int]:
    """Lines that ask for any port and do not listen on it with the same socket until the block ends."""
    tree = ast.parse(source)
    kept = {
        id(item.context_expr) for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in kept:
            address = ast.unparse(node.args[0]) if node.args else ""
            if node.func.attr == "create_server" and address.endswith(", 0)"):
                yield node.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TESTS)))
def test_no_time_is_asserted_and_no_port_given_back(file: Path) -> None:
    """CPU of this thread against CPU of this thread (time.thread_time) is a ratio, and allowed."""
    source = file.read_text()
    assert list(timed_asserts(source)) == [], "asserts a time, which a busy machine does not keep"
    assert list(closed_ports(source)) == [], "a port that was given back is anybody's: tests.ports.free_ports"


def test_the_walk_sees_what_is_forbidden() -> None:
    timed = (
        "import time\nbegan = time.monotonic()\nassert time.monotonic() - began < 5\n"
        "assert began\nassert 1 < 2"
    )
    assert list(timed_asserts(timed)) == [3, 4]
    given_back = 'import socket\none = socket.create_server(("127.0.0.1", 0))\n'
    held = 'with socket.create_server(("127.0.0.1", 0)) as one:\n    pass\n'
    assert list(closed_ports(given_back)) == [2] and list(closed_ports(held)) == []
