"""TRIPLETS + answers about their pictures + the trained model -> VERDICTS.

    >>> run(store, VerifyConfig(), Progress("verify"))                       # doctest: +SKIP
    StageReport(stage='verify', rows_in=3633, rows_out=3633, ...)

One row a triplet that has a text and names its target. A triplet of whose pictures one has no usable answer
is a failed row (`no_answer`). The answers are those of CAPTIONS where they were made as the settings say;
what else is needed the VLM is asked for (answers.py), and that part alone takes long.
"""

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from facap.annotate import taxonomy
from facap.annotate.claims import claims
from facap.annotate.origin import pinned
from facap.dataflow import write_rows
from facap.errors import StageFailed
from facap.failures import FailureLimit, check_failures
from facap.model.embed import kept
from facap.progress import Progress, StageReport
from facap.schemas import OK, VERDICTS
from facap.store import Manifest, Stage, Store, stage_key
from facap.verify import answers
from facap.verify.config import VerifyConfig
from facap.verify.origin import Origin
from facap.verify.ranks import Ranker, open_ranker, place_targets
from facap.verify.reading import asked_as
from facap.verify.verdicts import KEY, Judge

VERSION = 1
ROWS_PER_PART = 2048


def run(store: Store, config: VerifyConfig, progress: Progress) -> StageReport:
    """Makes VERDICTS; StageFailed above max_failure_rate, or if no triplet can be verified."""
    started = time.monotonic()
    config = pinned(config)
    origin = Origin(config)
    ranker = open_ranker(store) if config.ranks else None
    inputs = _inputs(store, config, ranker)
    stage = store.stage("verdicts", VERDICTS, key(config, inputs))
    finished = stage.finished()
    if finished:
        return _report(finished, 0.0, reused=True)
    triplets = good_triplets(store)
    if not triplets.num_rows:
        raise StageFailed(
            "verify: no row of TRIPLETS has both a text and a target; look at the failures of the job modify"
        )
    if config.ranks and ranker is None:
        progress.say("no ranks: there is no model with EMBEDDINGS of these IMAGES; evaluate_model makes them")
    views = other_views(store, triplets) if config.views == "all" else {}
    asked = needed(triplets, config) | {view: set() for others in views.values() for view in others}
    texts = answers.collect(store, config, asked, progress)
    todo = _left(triplets, stage)
    if todo.num_rows:
        todo = place_targets(store, ranker, todo, config, progress)
        limit = FailureLimit("verify", stage, config.max_failure_rate, triplets.num_rows)
        _judge(todo, stage, Judge(texts, origin, views), limit, progress)
    table = stage.read(["faithfulness", "failed", "rank"])
    check_failures("verify", stage.statuses(), config.max_failure_rate, stage=stage)
    manifest = stage.commit(
        config=config.model_dump(mode="json", exclude={"mlflow_uri"}),  # it may hold a password
        inputs=inputs,
        extra={"rows_in": triplets.num_rows} | _sums(table),
        expected=triplets.num_rows,
    )
    return _report(manifest, time.monotonic() - started, reused=False)


def key(config: VerifyConfig, inputs: dict[str, str]) -> str:
    """The key of the VERDICTS that `config` makes from inputs of these fingerprints."""
    settings = config.result_settings() | Origin(config).by_content()
    return stage_key("verify", VERSION, settings, inputs)


def good_triplets(store: Store) -> pa.Table:
    """The rows of TRIPLETS that can be verified; some datasets keep targets secret."""
    table = store.read("triplets", [*KEY, "modification", "status"])
    good = pc.and_(pc.equal(table.column("status"), OK), pc.is_valid(table.column("modification")))
    named = pc.not_equal(table.column("target_id"), "")
    return table.filter(pc.and_(good, named)).drop_columns(["status"])


def needed(triplets: pa.Table, config: VerifyConfig) -> dict[str, set[str]]:
    """The pictures of `triplets` and, with ask="attribute", the attributes that claims ask of each."""
    columns = (triplets.column(name).to_pylist() for name in ("reference_id", "target_id", "modification"))
    words = taxonomy.load(config.taxonomy)
    asked: dict[str, set[str]] = {}
    for reference, target, text in zip(*columns, strict=True):
        image = {"reference": reference, "target": target}
        for image_id in image.values():
            asked.setdefault(image_id, set())
        if config.ask == "attribute":
            for claim in claims(text, words):
                asked[image[claim.of]].add(asked_as(claim.attribute, words))
    return asked


def other_views(store: Store, triplets: pa.Table) -> dict[str, list[str]]:
    """Of each picture of `triplets` the other kept pictures of its product."""
    images = store.read("images", ["image_id", "product_id", "status", "duplicate_of"])
    columns = (kept(images).column(name).to_pylist() for name in ("image_id", "product_id"))
    product_of = dict(zip(*columns, strict=True))
    pictures: dict[str, list[str]] = {}
    for image_id, product_id in product_of.items():
        pictures.setdefault(product_id, []).append(image_id)
    mine = {*triplets.column("reference_id").to_pylist(), *triplets.column("target_id").to_pylist()}
    return {
        image_id: [view for view in pictures[product_of[image_id]] if view != image_id]
        for image_id in mine & product_of.keys()
    }


def _inputs(store: Store, config: VerifyConfig, ranker: Ranker | None) -> dict[str, str]:
    names = ["triplets", *(["captions"] if config.ask == "describe" else []), "images"]
    there = [name for name in names if name == "triplets" or store.manifest(name) is not None]
    model = {"model": ranker.label} if ranker is not None else {}
    return {name: store.fingerprint(name) for name in there} | model


def _left(triplets: pa.Table, stage: Stage) -> pa.Table:
    """The triplets that no part holds yet."""
    done = {tuple(row.values()) for row in stage.read(list(KEY)).to_pylist()}
    if not done:
        return triplets
    keys = zip(*(triplets.column(name).to_pylist() for name in KEY), strict=True)
    return triplets.filter(pa.array([key not in done for key in keys], pa.bool_()))


def _judge(triplets: pa.Table, stage: Stage, judge: Judge, limit: FailureLimit, progress: Progress) -> None:
    import ray.data

    starts = range(0, triplets.num_rows, ROWS_PER_PART)
    blocks = ray.data.from_arrow([triplets.slice(start, ROWS_PER_PART) for start in starts])
    judged = blocks.map_batches(judge, batch_format="pyarrow", batch_size=None)
    write_rows(judged, stage, limit.total, progress, ROWS_PER_PART, limit)


def _sums(verdicts: pa.Table) -> dict[str, Any]:
    """What the manifest tells of the scores."""
    mean = pc.mean(verdicts.column("faithfulness")).as_py()
    return {
        "mean_faithfulness": None if mean is None else round(mean, 4),
        "with_failed_claims": pc.sum(pc.greater(verdicts.column("failed"), 0)).as_py() or 0,
        "ranked": len(verdicts) - verdicts.column("rank").null_count,
    }


def _report(manifest: Manifest, seconds: float, reused: bool) -> StageReport:
    extra, failures = manifest.extra, {k: v for k, v in manifest.counts.items() if k != OK}
    note = f"{extra['with_failed_claims']:,} texts claim what nobody saw"
    if extra["mean_faithfulness"] is not None:
        note += f", mean faithfulness {extra['mean_faithfulness']:.3f}"
    if extra["ranked"]:
        note += f", {extra['ranked']:,} targets ranked"
    good = manifest.counts.get(OK, 0)
    return StageReport("verify", extra["rows_in"], good, failures, seconds, reused=reused, note=note)
