"""The report of verification: how scores are spread, and the worst triplets with their pictures.

    <workspace>/reports/verify.html  verify.json        of the version of VERDICTS that is the finished one

Texts and answers are untrusted: the template escapes them, and the page forbids itself any request.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from facap import reports
from facap.schemas import OK
from facap.store import Store
from facap.verify.verdicts import KEY

SHOWN = 12  # triplets of each list; two pictures each
THUMB_PX, THUMB_QUALITY = 200, 75
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # bands of faithfulness; the last one is 1 itself
RANKS = (1, 10, 50)
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def publish(store: Store, mlflow_uri: str) -> dict[str, Any]:
    """Writes the report of the finished VERDICTS and returns its figures; nothing is done if it is there."""
    manifest = store.require("verdicts")
    there = reports.kept(store, "verify", manifest.fingerprint)
    if there is not None:
        return there
    rows = store.read("verdicts").to_pylist()
    figures = {
        "fingerprint": manifest.fingerprint,
        "created_at": manifest.created_at,
        "seconds": manifest.seconds,
        "ask": manifest.config["ask"],
        "model": rows[0]["model"],
        "statuses": dict(Counter(row["status"] for row in rows)),
        **summary(rows),
    }
    page = render(store, rows, figures)
    params = manifest.config | {"inputs": manifest.inputs}
    reports.track(store, mlflow_uri, "verify", params, _metrics(figures), page, figures)
    reports.keep(store, "verify", page, figures)
    return figures


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of VERDICTS rows: of all, and by category."""
    good = [row for row in rows if row["status"] == OK]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in good:
        groups.setdefault(row["category"], []).append(row)
    return {
        "all": _figures(good),
        "categories": {name: _figures(groups[name]) for name in sorted(groups)},
        "unsupported": dict(
            Counter(attribute_of(claim) for row in good for claim in row["unsupported"] or []).most_common()
        ),
    }


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    scores = np.array([row["faithfulness"] for row in rows if row["faithfulness"] is not None])
    ranks = np.array([row["rank"] for row in rows if row["rank"] is not None])
    within = {str(k): round(float((ranks <= k).mean()), 4) if len(ranks) else None for k in RANKS}
    bands = [int(((scores >= low) & (scores < high)).sum()) for low, high in pairwise(EDGES)]
    return {
        "triplets": len(rows),
        "scored": len(scores),
        "mean": round(float(scores.mean()), 4) if len(scores) else None,
        "bands": [*bands, int((scores >= EDGES[-1]).sum())],
        "ranked": len(ranks),
        "median_rank": float(np.median(ranks)) if len(ranks) else None,
        "ranked_within": within,
    }


def attribute_of(claim: str) -> str:
    """The attribute of a claim as VERDICTS words it.

    >>> attribute_of("target: not closure belt (seen: belt)")
    'closure'
    """
    return claim.partition(": ")[2].removeprefix("not ").split()[0]


def worst(rows: list[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(heading, what it shows, rows): least faithful first, and what all claims support but ranks badly."""
    good = [row for row in rows if row["status"] == OK]
    false = [row for row in good if row["failed"]]
    false.sort(key=lambda row: (row["faithfulness"], -row["failed"], row["reference_id"]))
    lost = [row for row in good if row["rank"] is not None and not row["failed"]]
    lost.sort(key=lambda row: (-row["rank"], row["reference_id"]))
    return [
        ("Least faithful", "their texts claim what the answers do not show", false[:SHOWN]),
        ("Faithful, but ranked worst", "a vague text, a rare garment, or a weak model", lost[:SHOWN]),
    ]


def render(store: Store, rows: list[dict[str, Any]], figures: dict[str, Any]) -> str:
    """The page; texts are of TRIPLETS, pictures of IMAGES where they are there."""
    lists = worst(rows)
    shown = {row[side] for _, _, some in lists for row in some for side in ("reference_id", "target_id")}
    pictures = reports.pictures(store, shown) if store.manifest("images") is not None else {}
    wanted = {_key(row) for _, _, some in lists for row in some}
    triplets = store.read("triplets", [*KEY, "modification"]).to_pylist()
    texts = {_key(row): row["modification"] for row in triplets if _key(row) in wanted}
    return reports.template(TEMPLATE).render(
        figures=figures,
        lists=lists,
        bands=[f"{low:.1f} to {high:.1f}" for low, high in pairwise(EDGES)] + ["1"],
        text=lambda row: texts[_key(row)],
        picture=lambda image_id: (
            reports.picture_uri(pictures[image_id], THUMB_PX, THUMB_QUALITY) if image_id in pictures else None
        ),
    )


def _key(row: dict[str, Any]) -> tuple:
    return tuple(row[name] for name in KEY)


def _metrics(figures: dict[str, Any]) -> dict[str, float]:
    total = figures["all"]
    metrics: dict[str, float] = {
        "triplets": total["triplets"],
        "with_failed_claims": total["scored"] - total["bands"][-1],
        "ranked": total["ranked"],
    }
    if total["scored"]:
        metrics["faithfulness"] = total["mean"]
    if total["ranked"]:
        metrics["median_rank"] = total["median_rank"]
        metrics |= {f"ranked_within_{k}": share for k, share in total["ranked_within"].items()}
    for name, group in figures["categories"].items():
        if group["scored"]:
            metrics[f"faithfulness/{name}"] = group["mean"]
    return metrics | {f"failures/{s}": n for s, n in figures["statuses"].items() if s != OK}
