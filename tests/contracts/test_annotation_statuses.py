"""docs/captions.md and docs/modifications.md list every status that the annotation stages can give."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANNOTATE = ROOT / "platform" / "facap" / "annotate"
CAPTIONS_ONLY = {"undecodable", "wrong_category"}
STATUSES = ("STATUS", "REFUSED", "DECLINED")  # constants that are one
TEXTS_ONLY = {"caption_missing", "identical", "forbidden_phrase", "contradiction", "duplicate_text"}


def given() -> set[str]:
    """Statuses of Parsed, Fault and Refusal, literal `status` values, and constants that are one."""
    found = {"ok"}
    for path in ANNOTATE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Parsed", "Fault"):
                found |= _word(node.args[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                found |= _word(node.args[1])
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                for key, value in pairs:
                    if isinstance(key, ast.Constant) and key.value == "status":
                        found |= _word(value)
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in STATUSES:
                found |= _word(node.value)
    return found


def _word(node: ast.expr) -> set[str]:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return {node.value} - {""} if is_text else set()  # type: ignore[attr-defined]


def listed(page: str) -> set[str]:
    """The first column of the table below "Statuses"."""
    table = (ROOT / "docs" / page).read_text().split("## Statuses")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|", table, re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", " ".join(rows)))


def test_every_status_is_explained() -> None:
    assert {"too_long", "engine_error", "duplicate_text", "caption_missing"} <= given()
    assert listed("captions.md") == given() - TEXTS_ONLY
    assert listed("modifications.md") == given() - CAPTIONS_ONLY
