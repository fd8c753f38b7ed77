"""The report of an evaluation: an HTML page with what models find, where they fail and what is hard.

    <workspace>/reports/evaluation.html  evaluation.json        also in the MLflow run "evaluate"

Sheets are as in the paper: the reference, the text, the first five pictures, the target framed. What texts
say is untrusted: the template escapes it, and the page forbids itself scripts and any request.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facap import reports
from facap.evaluate.protocol import ALL, Answered, Query, Task, Vectors
from facap.model.matching import scores
from facap.store import Store

NAME = "evaluation"
SHOWN, FIRST = 8, 5  # queries of a sheet, and pictures found that are shown of each
FEWEST = 10  # queries that a kind of change needs to have a line
AT = 10
THUMB_PX, THUMB_QUALITY = 160, 75
TEMPLATE = Path(__file__).with_name("report.html.jinja")
Asked = dict[int, int]  # number of a query -> the rank of its target


def figures_of(
    store: Store,
    queries: Sequence[Query],
    tasks: Sequence[Task],
    answers: Mapping[str, Sequence[Answered]],
    vectors: Mapping[str, Vectors],
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the page shows: METRICS, sheets and the breakdown by kind of change, of the first protocol.

    `answers` and `vectors` by model; the first model is the one that is shown, beside the best of the others.
    """
    first = (tasks[0].benchmark, tasks[0].protocol)
    mine = [i for i, task in enumerate(tasks) if (task.benchmark, task.protocol) == first]
    task_of = {number: tasks[i] for i in mine for number in tasks[i].queries}
    ranks: dict[str, Asked] = {
        version: {n: int(r) for i in mine for n, r in zip(found[i].asked, found[i].target.ranks, strict=True)}
        for version, found in answers.items()
    }
    model, *others = ranks
    rival = max(others, key=lambda version: _recall(ranks[version])) if others else model
    asked = sorted(ranks[model], key=lambda n: queries[n].key())

    def shown(numbers: Sequence[int], versions: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "reference_id": queries[n].reference_id,
                "target_id": queries[n].target_id,
                "text": queries[n].text,
                "found": [
                    {
                        "model": version,
                        "rank": ranks[version][n],
                        "images": first_found(vectors[version], task_of[n], queries, n),
                    }
                    for version in versions
                ],
            }
            for n in numbers
        ]

    worst = sorted(asked, key=lambda n: -ranks[model][n])
    apart = sorted(asked, key=lambda n: -abs(np.log(ranks[model][n] / ranks[rival][n])))
    return {
        "model": model,
        "rival": rival,
        "benchmark": first[0],
        "protocol": first[1],
        "metrics": rows,
        "sheets": {
            "sample": shown(asked[:SHOWN], [model]),
            "worst": shown(worst[:SHOWN], [model]),
            "apart": shown(apart[:SHOWN], [model, rival]),
        },
        "by_change": by_change(store, queries, ranks[model], ranks[rival]),
        "ranks": [int(ranks[model][n]) for n in asked],
    }


def _recall(ranks: Asked) -> float:
    return float(np.mean([rank <= AT for rank in ranks.values()])) if ranks else 0.0


def first_found(vectors: Vectors, task: Task, queries: Sequence[Query], number: int) -> list[str]:
    """The image_ids that a query finds first."""
    left_out = None if task.reference else queries[number].reference_id
    there = [c.image_id for c in task.gallery if c.image_id in vectors.gallery and c.image_id != left_out]
    gallery_GD = torch.from_numpy(np.stack([vectors.gallery[image] for image in there]))
    score_G = scores(torch.from_numpy(vectors.queries_QD[number][None]), gallery_GD)[0]
    return [there[place] for place in score_G.topk(min(FIRST, len(there))).indices.tolist()]


def by_change(store: Store, queries: Sequence[Query], ranks: Asked, rival: Asked) -> list[dict[str, Any]]:
    """For each attribute that queries change, by their captions, R@10 of both models; the hardest first."""
    if store.manifest("captions") is None:
        return []
    rows = store.read("captions", ["image_id", "attributes"]).to_pylist()
    attributes = {row["image_id"]: dict(row["attributes"] or []) for row in rows}
    asked: dict[str, list[int]] = {}
    for number in ranks:
        of_both = [attributes.get(i, {}) for i in (queries[number].reference_id, queries[number].target_id)]
        for name in of_both[0].keys() | of_both[1].keys():
            if of_both[0].get(name) != of_both[1].get(name):
                asked.setdefault(name, []).append(number)
    found = [
        {
            "change": name,
            "queries": len(numbers),
            "recall": _recall({n: ranks[n] for n in numbers}),
            "rival": _recall({n: rival[n] for n in numbers}),
        }
        for name, numbers in asked.items()
        if len(numbers) >= FEWEST
    ]
    return sorted(found, key=lambda row: (row["recall"], row["change"]))


def render(store: Store, figures: dict[str, Any]) -> str:
    """The page; pictures are of IMAGES."""
    wanted = {
        image
        for sheet in figures["sheets"].values()
        for row in sheet
        for image in (row["reference_id"], *(i for found in row["found"] for i in found["images"]))
    }
    pictures = reports.pictures(store, wanted)
    named = [row for row in figures["metrics"] if row["category"] == ALL]
    tables: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in named:
        models = tables.setdefault((row["benchmark"], row["protocol"]), {})
        models.setdefault(row["model_version"], {})[row["metric"]] = row
    return reports.template(TEMPLATE).render(
        figures=figures,
        tables=tables,
        name=lambda version: version.partition("@")[0],
        thumb=lambda image: reports.picture_uri(pictures[image], THUMB_PX, THUMB_QUALITY),
        median=float(np.median(figures["ranks"])),
        at=AT,
    )
