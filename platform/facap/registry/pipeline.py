"""The artefact "model" + METRICS + RANKS -> a registered version, and the alias "champion" if it earns it.

The small artefact "champion" (a manifest without files) records in `extra` which version the
workspace goes on with: model_version, name, model_fingerprint, promoted, reasons, numbers.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from facap.errors import DatasetMissing, StageFailed
from facap.progress import Progress, StageReport
from facap.registry.config import RegistryConfig
from facap.registry.gate import Decision, Model, Query, decide
from facap.store import Manifest, Store, stage_key
from facap.tracking import open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

VERSION = 2
RANKS_FILE, METRICS_FILE = "ranks.parquet", "metrics.json"
TRAINED_ON = "trained_on.parquet"  # in the model's folder: image_id and product_id of its training
LATENCY_QUERIES = 20


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

    ranks = first_protocol(store.read("ranks"))
    challenger, baseline = models(ranks, model.fingerprint)
    challenger = examined(store, model, challenger, ranks, config)
    client = open_client(store, config.mlflow_uri)
    with tempfile.TemporaryDirectory(prefix="facap-evidence-") as folder:
        write_evidence(store, ranks, challenger.name, Path(folder))
        tags = version_tags(model, metrics, challenger, baseline)
        version = versions.register(client, config.name, store.folder("model"), tags, folder)
    progress.say(f"version {version} of {config.name}, R@10 {challenger.recall():.1%}")
    with versions.promotion_lock(client, config.name):  # nobody else moves the alias from here to the end
        client.set_registered_model_alias(config.name, versions.CHALLENGER, version)
        current = versions.aliased(client, config.name, versions.CHAMPION)
        champion = None
        if current is not None and str(current.version) != version:
            champion = champion_model(client, current)
        decision = decide(challenger, baseline, champion, config)
        _record(client, config.name, version, decision)
        if decision.promote:
            versions.promote(client, config.name, version)
            current = versions.aliased(client, config.name, versions.CHAMPION)
    if current is None and config.require_promotion:
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
    kept = config.model_dump(mode="json", exclude={"mlflow_uri"})  # it may hold a password
    stage.commit(config=kept, inputs=inputs, extra=extra)
    return StageReport("promote", 1, 1, seconds=time.monotonic() - started, note=_note(extra))


def first_protocol(ranks: pa.Table) -> pa.Table:
    """The rows of RANKS of the benchmark and protocol that stand first: others do not compare with them."""
    names = sorted(set(zip(*(ranks[name].to_pylist() for name in ("benchmark", "protocol")), strict=True)))
    rows = [row for row in ranks.to_pylist() if (row["benchmark"], row["protocol"]) == names[0]]
    return pa.Table.from_pylist(rows, schema=ranks.schema)


def models(ranks: pa.Table, model_fingerprint: str) -> tuple[Model, Model]:
    """The trained model and the best baseline; DatasetMissing if RANKS lacks either."""
    found: dict[str, dict[Query, int]] = {}
    for row in ranks.to_pylist():
        found.setdefault(row["model_version"], {})[row["category"], row["query"]] = row["rank"]
    named = [Model(name, of_query) for name, of_query in found.items()]
    baselines = [one for one in named if one.name.startswith("baseline/")]
    trained = [one for one in named if one.name.endswith(f"@{model_fingerprint}")]
    if not trained or not baselines:
        raise DatasetMissing(
            f"RANKS should be of model {model_fingerprint} and the baselines, are of "
            f"{', '.join(found) or 'nothing'}; run the evaluation again"
        )
    return trained[0], max(baselines, key=Model.recall)


def examined(
    store: Store, model: Manifest, challenger: Model, ranks: pa.Table, config: RegistryConfig
) -> Model:
    """The challenger with what it is judged by besides its ranks."""
    from facap.registry.versions import checksums

    folder = Path(store.folder("model"))
    trained = model.extra.get("checksums", {})
    found = checksums(folder)
    return Model(
        challenger.name,
        challenger.ranks,
        leaked=leaked(store, folder, ranks, challenger.name),
        altered=tuple(sorted(file for file in trained if found.get(file) != trained[file])),
        size_mib=sum(path.stat().st_size for path in folder.iterdir()) / 2**20,
        latency_ms=latency_ms(folder) if config.max_latency_ms else 0.0,
    )


def leaked(store: Store, folder: Path, ranks: pa.Table, name: str) -> int:
    """Queries of `name` that show a picture of the model's training, or another view of such a product."""
    if not (folder / TRAINED_ON).exists():  # trained elsewhere; what it has seen is not known
        return 0
    trained = pq.read_table(folder / TRAINED_ON)
    images = set(trained["image_id"].to_pylist())
    products = set(trained["product_id"].to_pylist())
    rows = store.read("images", ["image_id", "product_id"])
    images |= {
        image
        for image, product in zip(rows["image_id"].to_pylist(), rows["product_id"].to_pylist(), strict=True)
        if product in products
    }
    mine = [row for row in ranks.to_pylist() if row["model_version"] == name]
    return sum(row["reference_id"] in images or row["target_id"] in images for row in mine)


def latency_ms(folder: Path) -> float:
    """Median time to embed one query on this machine's CPU, ms."""
    import PIL.Image

    from facap.model.encoder import Encoder

    encoder = Encoder.load(folder)
    picture = PIL.Image.new("RGB", (400, 500), "grey")
    times = []
    for _ in range(LATENCY_QUERIES + 1):
        began = time.perf_counter()
        encoder.queries([picture], ["the same but sleeveless and in navy"])
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def write_evidence(store: Store, ranks: pa.Table, name: str, folder: Path) -> None:
    """What a version keeps of its evaluation: its ranks, by which the next one is compared, and METRICS."""
    mine = [row for row in ranks.to_pylist() if row["model_version"] == name]
    pq.write_table(pa.Table.from_pylist(mine, schema=ranks.schema), folder / RANKS_FILE)
    metrics = [row for row in store.read("metrics").to_pylist() if row["model_version"] == name]
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1))


def champion_model(client: "MlflowClient", version: "ModelVersion") -> Model:
    """The champion with the ranks that it was judged by; without any it compares with nothing."""
    from facap.registry import versions

    with tempfile.TemporaryDirectory(prefix="facap-evidence-") as folder:
        file = versions.evidence_of(client, version, RANKS_FILE, folder)
        rows = pq.read_table(file).to_pylist() if file is not None else []
    ranks = {(row["category"], row["query"]): row["rank"] for row in rows}
    return Model(f"champion v{version.version}", ranks)


def version_tags(model: Manifest, metrics: Manifest, challenger: Model, baseline: Model) -> dict[str, str]:
    """What a version says of itself in MLflow."""
    tags = {f"input_{name}": value for name, value in model.inputs.items()}
    evaluated = {f"evaluated_{name}": value for name, value in metrics.inputs.items()}
    return (
        tags
        | evaluated
        | {
            "model_fingerprint": model.fingerprint,
            "metrics_fingerprint": metrics.fingerprint,
            "code_version": model.code_version,
            "base": metrics.inputs.get("base", ""),
            "recall_at_10": repr(challenger.recall()),
            "best_baseline": baseline.name,
            "best_baseline_recall_at_10": repr(baseline.recall()),
        }
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
