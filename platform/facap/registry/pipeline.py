"""The artefact "model" + METRICS -> a version in the registry, and the alias "champion" if it earns it.

The small artefact "champion" (a manifest without files) records in `extra` which version the
workspace goes on with: model_version, name, model_fingerprint, promoted, reasons, numbers.
"""

import json
import time
from typing import TYPE_CHECKING

import pyarrow as pa

from facap.errors import DatasetMissing, StageFailed
from facap.progress import Progress, StageReport
from facap.registry.config import RegistryConfig
from facap.registry.gate import Decision, Score, decide
from facap.store import Manifest, Store, fingerprint, stage_key
from facap.tracking import open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

VERSION = 1
HEADLINE = ("all", "recall@10")  # the category and metric that the gate judges


def run(store: Store, config: RegistryConfig, progress: Progress) -> StageReport:
    """Registers and judges the model; StageFailed if it is refused and there is no champion."""
    started = time.monotonic()
    model, metrics = store.require("model"), store.require("metrics")
    settings = config.model_dump(mode="json", exclude={"require_promotion", "mlflow_uri"})
    inputs = {"model": model.fingerprint, "metrics": metrics.fingerprint}
    stage = store.stage("champion", None, stage_key("registry", VERSION, settings, inputs))
    finished = stage.finished()
    if finished:
        return StageReport("promote", 1, 1, reused=True, note=_note(finished.extra))

    from facap.registry import versions

    challenger, baseline = scores(store.read("metrics"), model.fingerprint, data_fingerprint(metrics))
    client = open_client(store, config.mlflow_uri)
    tags = version_tags(model, metrics, challenger, baseline)
    version = versions.register(client, config.name, store.folder("model"), tags)
    progress.say(f"version {version} of {config.name}, R@10 {challenger.recall_at_10:.1%}")
    current = versions.aliased(client, config.name, versions.CHAMPION)
    champion = None
    if current is not None and str(current.version) != version:
        champion = _champion_score(str(current.version), current.tags)
    decision = decide(challenger, baseline, champion, config)
    _record(client, config.name, version, decision)
    if decision.promote:
        versions.promote(client, config.name, version)
        current = versions.aliased(client, config.name, versions.CHAMPION)
    elif current is None and config.require_promotion:
        raise StageFailed(
            f"promote: version {version} of {config.name} was refused and there is no champion to go on "
            f"with: {'; '.join(decision.reasons)}. Train longer or on more data, or set require_promotion "
            "to false"
        )
    extra = {
        "name": config.name,
        "model_version": str(current.version) if current is not None else None,
        "model_fingerprint": current.tags.get(versions.FINGERPRINT) if current is not None else None,
        "registered_version": version,
        "promoted": decision.promote,
        "reasons": decision.reasons,
        "numbers": decision.numbers,
    }
    stage.commit(config=config.model_dump(mode="json"), inputs=inputs, extra=extra)
    return StageReport("promote", 1, 1, seconds=time.monotonic() - started, note=_note(extra))


def data_fingerprint(metrics: Manifest) -> str:
    """What METRICS was measured on: equal for two models that may be compared."""
    return fingerprint([metrics.inputs["triplets"], metrics.inputs["images"]])


def scores(metrics: pa.Table, model_fingerprint: str, data: str) -> tuple[Score, Score]:
    """The headline of the model and of the best baseline; DatasetMissing if METRICS lacks either."""
    rows = [row for row in metrics.to_pylist() if (row["category"], row["metric"]) == HEADLINE]
    first = [(row["benchmark"], row["protocol"]) for row in rows[:1]]  # figures of others do not compare
    rows = [row for row in rows if (row["benchmark"], row["protocol"]) in first]
    found = [Score(row["model_version"], row["value"], data) for row in rows]
    baselines = [score for score in found if score.name.startswith("baseline/")]
    models = [score for score in found if score.name.endswith(f"@{model_fingerprint}")]
    if not models or not baselines:
        raise DatasetMissing(
            f"METRICS should score model {model_fingerprint} and the baselines, scores "
            f"{', '.join(score.name for score in found) or 'nothing'}; run the evaluation again"
        )
    return models[0], max(baselines, key=lambda score: score.recall_at_10)


def version_tags(model: Manifest, metrics: Manifest, challenger: Score, baseline: Score) -> dict[str, str]:
    """What a version says of itself in MLflow."""
    tags = {f"input_{name}": value for name, value in model.inputs.items()}
    return tags | {
        "model_fingerprint": model.fingerprint,
        "data_fingerprint": challenger.data,
        "metrics_fingerprint": metrics.fingerprint,
        "code_version": model.code_version,
        "base": metrics.inputs.get("base", ""),
        "recall_at_10": repr(challenger.recall_at_10),
        "best_baseline": baseline.name,
        "best_baseline_recall_at_10": repr(baseline.recall_at_10),
    }


def _champion_score(version: str, tags: dict[str, str]) -> Score:
    """The champion as it was measured; data "" (comparable with nothing) if it bears no measurement."""
    measured = "recall_at_10" in tags
    return Score(
        f"champion v{version}",
        float(tags["recall_at_10"]) if measured else 0.0,
        tags.get("data_fingerprint", "") if measured else "",
    )


def _record(client: "MlflowClient", name: str, version: str, decision: Decision) -> None:
    client.set_model_version_tag(name, version, "promoted", str(decision.promote).lower())
    client.set_model_version_tag(name, version, "reasons", "; ".join(decision.reasons))
    client.set_model_version_tag(name, version, "numbers", json.dumps(decision.numbers))


def _note(extra: dict) -> str:
    if extra["promoted"]:
        return f"version {extra['model_version']} is the champion"
    kept = f"version {extra['model_version']} stays" if extra["model_version"] else "there is no champion"
    return f"version {extra['registered_version']} refused, {kept}: {'; '.join(extra['reasons'])}"
