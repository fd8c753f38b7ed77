"""docs/crawl.md lists every status that the code can give, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRAWL = ROOT / "platform" / "facap" / "crawl"


def given() -> set[str]:
    """First arguments of FetchError and DecodeError, and literal `status` values, all over the crawl."""
    found = {"ok", "vanished"}
    for path in CRAWL.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("FetchError", "DecodeError"):
                found |= _texts(node.args[0])
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "status":
                        found |= _texts(value)
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "status":
                found |= _texts(node.value)
    return found


def _texts(node: ast.expr) -> set[str]:
    if isinstance(node, ast.JoinedStr):
        return {"http_<code>"}
    words = {str(n.value) for n in ast.walk(node) if isinstance(n, ast.Constant)}
    return {word for word in words if re.fullmatch("[a-z_]+", word)}


def test_every_status_is_explained() -> None:
    listed = set(re.findall(r"^\| `([a-z_<>]+)` \|", (ROOT / "docs" / "crawl.md").read_text(), re.MULTILINE))
    assert {"host_down", "truncated", "http_<code>", "dns", "connection"} <= given()
    assert given() == listed
