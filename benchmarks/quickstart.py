"""The quickstart from an empty workspace: seconds a stage, retrieval against the baselines, caption truth.

The captions are held against what the demo catalogue's renderer knows of each garment:
precision = stated and true / stated; recall = stated and true / true and visible.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from facap.catalog import wording
from facap.catalog.garments import ATTRIBUTES, Garment
from facap.schemas import OK
from facap.store import Store

ROOT = Path(__file__).resolve().parents[1]
KEPT_METRIC = ("all", "recall@10")


def main() -> None:
    """Runs the quickstart in a folder of its own and prints the figures as the last line."""
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder:
        workspace = sys.argv[1] if len(sys.argv) > 1 else f"{folder}/workspace"
        command = [sys.executable, "-m", "jobs.quickstart", "--workspace", workspace]
        subprocess.run([*command, "--serve_after", "false"], cwd=ROOT, check=True)
        print(json.dumps(figures(Store(workspace))))


def figures(store: Store) -> dict:
    """The figures of a finished workspace."""
    reports = json.loads(Path(store.path("logs", "stages.json")).read_text())
    recall = {
        row["model_version"].partition("@")[0]: row["value"]
        for row in store.read("metrics").to_pylist()
        if (row["category"], row["metric"]) == KEPT_METRIC
    }
    baselines = {name: value for name, value in recall.items() if name.startswith("baseline/")}
    return {
        "seconds_total": round(sum(r["seconds"] for r in reports if not r["reused"]), 1),
        "seconds_by_stage": {r["stage"]: round(r["seconds"], 1) for r in reports},
        "rows_by_stage": {r["stage"]: [r["rows_in"], r["rows_out"]] for r in reports},
        "r10_fashionblip2": round(recall["fashionblip2"], 4),
        "r10_best_baseline": round(max(baselines.values()), 4),
        "r10_baselines": {name: round(value, 4) for name, value in baselines.items()},
        **caption_truth(store),
        **text_truth(store),
    }


def garments(store: Store) -> dict[str, Garment]:
    """The true garment of every kept picture, by image_id."""
    truth = pq.read_table(Path(store.folder("demo")) / "truth.parquet").to_pylist()
    by_path = {row["path"]: dict(row["attributes"]) for row in truth}
    images = store.read("images", ["image_id", "url", "status"]).to_pylist()
    return {
        row["image_id"]: Garment(**{name: by_path[urlsplit(row["url"]).path][name] for name in ATTRIBUTES})
        for row in images
        if row["status"] == "ok"
    }


def caption_truth(store: Store) -> dict[str, float]:
    """Precision and recall of what the captions claim."""
    known = garments(store)
    stated = true = wanted = 0
    for row in store.read("captions", ["image_id", "caption"]).to_pylist():
        claims = wording.caption_claims(row["caption"] or "")
        facts = wording.caption_claims(wording.caption(known[row["image_id"]]))
        stated, wanted = stated + len(claims), wanted + len(facts)
        true += sum(facts.get(name) == value for name, value in claims.items())
    return {"caption_precision": round(true / stated, 4), "caption_recall": round(true / wanted, 4)}


def text_truth(store: Store, only: set[tuple[str, str]] | None = None) -> dict[str, float]:
    """Of the usable texts: the share that names every true change, and that claims nothing false.

    `text_usable`: the share of all pairs that have such a text; the checks have refused the others. `only`:
    look at the texts of these (reference, target), and call usable no others.
    """
    known = garments(store)
    named = clean = count = 0
    rows = store.read("triplets", ["reference_id", "target_id", "modification", "status"]).to_pylist()
    for row in rows:
        if row["status"] != OK or (only is not None and (row["reference_id"], row["target_id"]) not in only):
            continue
        text, reference = row["modification"], known[row["reference_id"]]
        claims, old = wording.modification_claims(text), wording.replaced(text)
        changes = wording.changes(reference, known[row["target_id"]])
        named += claims.items() >= changes.items()
        clean += changes.items() >= claims.items() and reference.attributes().items() >= old.items()
        count += 1
    return {
        "text_names_all": round(named / count, 4),
        "text_no_false": round(clean / count, 4),
        "text_usable": round(count / len(rows), 4),
    }


if __name__ == "__main__":
    main()
