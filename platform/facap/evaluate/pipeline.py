"""TRIPLETS + IMAGES + the artefact "model" -> METRICS: FashionBLIP-2 and the baselines, side by side.

Galleries are EMBEDDINGS, made here if they are not there yet, and the queries are embedded by Ray actors;
ranks and intervals are computed on the driver. The MLflow run "evaluate" gets the same numbers.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from facap import reports
from facap.errors import ModelMissing, StageFailed
from facap.evaluate import report_page
from facap.evaluate.config import EvaluateConfig
from facap.evaluate.embed import Scored, embed_scored
from facap.evaluate.protocol import ALL, Answered, by_vectors, evaluate, rank_rows
from facap.evaluate.questions import read_questions
from facap.model import checkpoints
from facap.progress import Progress, StageReport
from facap.schemas import METRICS, RANKS, from_rows
from facap.store import Store, stage_key
from facap.tracking import open_client, start_run

if TYPE_CHECKING:
    from facap.model.baselines import Mode

VERSION = 2
BASELINES: "tuple[Mode, ...]" = ("image_only", "text_only", "sum")
MODEL = "fashionblip2"


def run(store: Store, config: EvaluateConfig, progress: Progress) -> StageReport:
    """Makes METRICS; StageFailed if the test split has no query."""
    started = time.monotonic()
    base = checkpoints.pinned(config.base or trained_from(store))
    settings = config.model_dump(mode="json", exclude={"num_workers", "batch_size", "mlflow_uri"})
    inputs = {
        "triplets": store.fingerprint("triplets"),
        "images": store.fingerprint("images"),
        "model": store.fingerprint("model"),
        "base": checkpoints.label(base),
    }
    if store.manifest("galleries"):
        inputs["galleries"] = store.fingerprint("galleries")
    stage = store.stage("metrics", METRICS, stage_key("evaluate", VERSION, settings, inputs))
    finished = stage.finished()
    if finished:
        return StageReport("evaluate", finished.extra["queries"], finished.rows, reused=True)

    questions = read_questions(store, config)
    for said in questions.notes:
        progress.say(said)
    scored = scored_models(store, base)
    vectors = embed_scored(store, scored, base, questions.queries, config, progress)
    rows: list[dict] = []
    ranks: list[dict] = []
    answers: dict[str, list[Answered]] = {}
    for one in scored:
        answer = by_vectors(questions.queries, vectors[one.version])
        found = answers[one.version] = [answer(task) for task in questions.tasks]
        ranks += rank_rows(one.version, questions.tasks, found, questions.queries)
        samples, confidence = config.bootstrap_samples, config.confidence
        rows += evaluate(one.version, questions.tasks, found, samples, confidence, config.seed)
    if not ranks:
        raise StageFailed(
            "evaluate: no query has both of its pictures in IMAGES, so there is nothing to score"
        )
    each = store.stage("ranks", RANKS, stage.key)
    each.write(from_rows(ranks, RANKS))
    kept = config.model_dump(mode="json", exclude={"mlflow_uri"})  # it may hold a password
    each.commit(config=kept, inputs=inputs, expected=len(ranks))
    shown = report_page.figures_of(store, questions.queries, questions.tasks, answers, vectors, rows)
    page = report_page.render(store, shown)
    reports.keep(store, report_page.NAME, page, shown)
    _log(store, config, rows, inputs, page)
    stage.write(from_rows(rows, METRICS))
    manifest = stage.commit(
        config=kept,
        inputs=inputs,
        extra={"queries": len(questions.queries)},
        expected=len(rows),
    )
    return StageReport("evaluate", len(questions.queries), manifest.rows, seconds=time.monotonic() - started)


def trained_from(store: Store) -> str:
    """The base checkpoint that the artefact "model" names; ModelMissing if it names none."""
    file = Path(store.folder("model"), "config.json")
    try:
        return str(json.loads(file.read_text())["base"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelMissing(
            f"{file} should name the base checkpoint of the model, does not ({error!r}); run the "
            "training again"
        ) from error


def scored_models(store: Store, base: str) -> list[Scored]:
    """FashionBLIP-2 as trained in this workspace, then the baselines on the base checkpoint."""
    weights = checkpoints.content(base)
    model = Scored(f"{MODEL}@{store.fingerprint('model')}")
    return [model] + [Scored(f"baseline/{mode}@{weights}", mode) for mode in BASELINES]


def _log(store: Store, config: EvaluateConfig, rows: list[dict], inputs: dict[str, str], page: str) -> None:
    """Puts the numbers of category "all" and of each category in one MLflow run."""
    from mlflow.entities import Metric

    client = open_client(store, config.mlflow_uri)
    run = start_run(client, "evaluate", config.model_dump(mode="json") | {"inputs": inputs})
    now = int(time.time() * 1000)
    metrics = []
    for row in rows:
        protocol = [] if row["protocol"] == rows[0]["protocol"] else [row["benchmark"], row["protocol"]]
        parts = [row["model_version"].partition("@")[0], *protocol, row["category"], row["metric"]]
        name = "/".join(parts)
        metrics.append(Metric(name.replace("@", "_at_"), row["value"], now, 0))
    for start in range(0, len(metrics), 1000):  # MLflow takes 1000 a call
        client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
    headline = next(r["value"] for r in rows if r["category"] == ALL and r["metric"] == "recall@10")
    client.log_metric(run.info.run_id, "recall_at_10", headline)
    client.log_text(run.info.run_id, page, f"{report_page.NAME}.html")
    client.set_terminated(run.info.run_id)
