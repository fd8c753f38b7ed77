"""Two models on the same queries of a workspace: paired differences, and where they differ most.

    compare(store, (Compared("champion v3", folder), Compared("model", other)), EvaluateConfig(), progress)

Writes reports/comparison.html and comparison.json and the MLflow run "compare". Galleries are EMBEDDINGS, one
dataset a model, so that comparing again embeds the queries only. The first model is the one that is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facap import reports
from facap.errors import ModelMissing, StageFailed
from facap.evaluate import report_page
from facap.evaluate.config import EvaluateConfig
from facap.evaluate.embed import by_reference, embed_queries
from facap.evaluate.metrics import bootstrap, interval, metric_names, summarise
from facap.evaluate.protocol import Answered, Query, Task, Vectors, by_vectors, evaluate
from facap.evaluate.questions import read_questions
from facap.model import checkpoints
from facap.model.embed import Workers, embed, read_vectors, require_all, trained_model
from facap.progress import Progress
from facap.store import Store

NAME = "comparison"
SHOWN = ("recall@1", "recall@5", "recall@10", "recall@50", "map")


@dataclass(frozen=True)
class Compared:
    """A model: what it is called in the table, and the folder that it lies in."""

    name: str
    folder: str

    def version(self) -> str:
        """Its name in METRICS."""
        return f"{self.name}@{checkpoints.weights_hash(self.folder)[:12]}"


def compare(
    store: Store, pair: tuple[Compared, Compared], config: EvaluateConfig, progress: Progress
) -> dict[str, Any]:
    """The figures: METRICS of both models and the differences; needs Ray running.

    Raises ModelMissing if a folder holds no model, StageFailed if there is nothing to ask.
    """
    for one in pair:
        if not Path(one.folder, "config.json").exists():
            raise ModelMissing(f"compare: {one.folder} should hold a model with config.json, holds none")
    questions = read_questions(store, config)
    for said in questions.notes:
        progress.say(said)
    vectors = {one.version(): _embedded(store, one, questions.queries, config, progress) for one in pair}
    if len(vectors) < len(pair):
        raise StageFailed(f"compare: {pair[0].name} and {pair[1].name} have the same name and weights")
    answers, rows = {}, []
    for version, found in vectors.items():
        answer = by_vectors(questions.queries, found)
        answers[version] = [answer(task) for task in questions.tasks]
        samples, confidence = config.bootstrap_samples, config.confidence
        rows += evaluate(version, questions.tasks, answers[version], samples, confidence, config.seed)
    figures = report_page.figures_of(store, questions.queries, questions.tasks, answers, vectors, rows)
    first, second = answers.values()
    figures["differences"] = differences(questions.tasks, first, second, config)
    page = report_page.render(store, figures)
    metrics = {
        f"{row['protocol']}/{row['metric']}".replace("@", "_at_"): row["value"]
        for row in figures["differences"]
    }
    params = config.model_dump(mode="json") | {"first": pair[0].version(), "second": pair[1].version()}
    reports.track(store, config.mlflow_uri, "compare", params, metrics, page, figures)
    reports.keep(store, NAME, page, figures)
    return figures


def differences(
    tasks: Sequence[Task], first: Sequence[Answered], second: Sequence[Answered], config: EvaluateConfig
) -> list[dict[str, Any]]:
    """First less second of each protocol's metrics, means over the categories, with paired intervals.

    Paired: the resamples of both models are of the same queries. `better`: "first", "second", or "neither"
    where the interval holds zero.
    """
    rows = []
    for benchmark, protocol in dict.fromkeys((task.benchmark, task.protocol) for task in tasks):
        gains, resamples = [], []
        for number, (task, one, other) in enumerate(zip(tasks, first, second, strict=True)):
            if (task.benchmark, task.protocol) != (benchmark, protocol) or not len(one.asked):
                continue
            assert np.array_equal(one.asked, other.asked), task  # both have every picture of the workspace
            gains.append(np.subtract(*(summarise(found.target, found.product) for found in (one, other))))
            drawn = [
                bootstrap(
                    found.target,
                    found.product,
                    config.bootstrap_samples,
                    np.random.default_rng([config.seed, number]),  # the same queries for both
                )
                for found in (one, other)
            ]
            resamples.append(drawn[0] - drawn[1])
        if not gains:
            continue
        low_M, high_M = interval(np.mean(resamples, axis=0), config.confidence)
        for metric, gain, low, high in zip(
            metric_names(), np.mean(gains, axis=0), low_M, high_M, strict=True
        ):
            if metric in SHOWN:
                better = "first" if low > 0 else "second" if high < 0 else "neither"
                row: dict[str, Any] = {
                    "benchmark": benchmark,
                    "protocol": protocol,
                    "metric": metric,
                    "better": better,
                }
                ends = {"ci_low": float(low), "ci_high": float(high)}
                rows.append(row | {"value": float(gain)} | ends)
    return rows


def difference_table(figures: dict[str, Any]) -> str:
    """The differences as text, a line a metric, in points."""
    first, second = (figures[name].partition("@")[0] for name in ("model", "rival"))
    who = {"first": f"{first} is better", "second": f"{second} is better", "neither": "unclear"}
    lines = [f"{first} less {second}, points"]
    for row in figures["differences"]:
        value, low, high = (f"{100 * row[name]:+.1f}" for name in ("value", "ci_low", "ci_high"))
        lines.append(
            f"{row['protocol']:<22} {row['metric']:<10} {value:>6} [{low}, {high}]  {who[row['better']]}"
        )
    return "\n".join(lines)


def _embedded(
    store: Store, one: Compared, queries: Sequence[Query], config: EvaluateConfig, progress: Progress
) -> Vectors:
    """The vectors of all kept pictures and of the queries."""
    model = trained_model(one.folder)
    workers = Workers(num_actors=config.num_workers, batch_size=config.batch_size)
    name = f"embeddings-{model.label[:12]}"
    require_all(embed(store, name, model, workers, progress), "compare")
    gallery = dict(zip(*read_vectors(store, name), strict=True))
    found: dict[int, np.ndarray] = {}
    for numbers, both_QD, _ in embed_queries(store, one.folder, by_reference(queries), workers):
        found |= dict(zip(numbers, both_QD, strict=True))
        progress.update(len(found), len(queries), f"queries of {one.name}")
    return Vectors(gallery, np.stack([found[number] for number in range(len(queries))]))
