"""CAPTIONS + IMAGES -> PAIRS: the base checkpoint embeds the pictures on Ray, the driver mines the pairs.

Every captioned image ends as the reference of one pair or is counted, by reason, in the report and
in the manifest's `extra`: "no_caption" (its caption failed), "uncertain" (its caption
is less than min_confidence), "no_vector" (its picture is gone or
cannot be decoded), "no_partner" (nothing acceptable among its neighbours). PAIRS is one part; what the
settings kept lies beside it as figures.json, for the report.
"""

import json
import time
from collections import Counter
from dataclasses import asdict

import pyarrow as pa

from facap import reports
from facap.failures import check_failures
from facap.model import checkpoints
from facap.model.embed import BASE, Workers, base_model, embed, read_vectors
from facap.progress import Progress, StageReport
from facap.schemas import OK, PAIRS, from_rows
from facap.splits import split_of
from facap.store import Manifest, Store, stage_key
from facap.triplets.config import PairsConfig

VERSION = 2
FIGURES = "figures.json"
OWN, SURE = "facap/", 0.9  # a shipped model's name begins so; what suits it (docs/pairs.md)


def run(store: Store, config: PairsConfig, progress: Progress) -> StageReport:
    """Makes PAIRS; StageFailed if more than `max_failure_rate` of the images end without a pair."""
    started = time.monotonic()
    config = config.model_copy(update={"base": checkpoints.pinned(config.base)})
    settings = config.model_dump(mode="json", exclude={"num_workers", "batch_size", "max_failure_rate"})
    inputs = {
        "captions": store.fingerprint("captions"),
        "images": store.fingerprint("images"),
        "base": checkpoints.label(config.base),
    }
    stage = store.stage("pairs", PAIRS, stage_key("pairs", VERSION, settings, inputs))
    finished = stage.finished()
    if finished:
        return _report(finished, seconds=0.0, reused=True)

    from facap.triplets.pairing import Member, Pair, in_order, mine_groups
    from facap.triplets.survey import Survey

    columns = ["model", "image_id", "product_id", "category", "attributes", "confidence", "status"]
    captions = store.read("captions", columns)
    config = config.model_copy(update={"min_confidence": least_confidence(config, captions)})
    survey = Survey(config)
    members: dict[str, Member] = {}
    failures: Counter[str] = Counter()
    for row in captions.to_pylist():
        if row["status"] != OK:
            failures["no_caption"] += 1
            survey.lost(row["category"], "images")
            continue
        survey.stated(row["category"], row["confidence"])
        if row["confidence"] is not None and row["confidence"] < survey.least:
            failures["uncertain"] += 1
            survey.lost(row["category"], "captioned")
            continue
        attributes = dict(row["attributes"] or [])
        members[row["image_id"]] = Member(
            row["image_id"], row["product_id"], row["category"], split_of(row["product_id"]), attributes
        )
    check_failures("pairs", failures, config.max_failure_rate, captions.num_rows)
    workers = Workers(num_actors=config.num_workers, batch_size=config.batch_size)
    embed(store, BASE, base_model(config.base), workers, progress)
    ids, vectors_ND = read_vectors(store, BASE)
    rows_of = [row for row, image_id in enumerate(ids) if image_id in members]
    found = [members[ids[row]] for row in rows_of]
    failures["no_vector"] = len(members) - len(found)
    for image_id in members.keys() - set(ids):
        survey.lost(members[image_id].category, "certain")
    pairs: list[Pair] = []
    for group in mine_groups(found, vectors_ND[rows_of], config):
        survey.add(group)
        pairs += group.pairs
    pairs = in_order(pairs)
    failures["no_partner"] = len(found) - len(pairs)
    failures = +failures  # drops the reasons that did not occur
    check_failures("pairs", {OK: len(pairs), **failures}, config.max_failure_rate)

    done = stage.done("reference_id")
    rows = [asdict(pair) for pair in pairs if pair.reference_id not in done]
    if rows:
        stage.write(from_rows(rows, PAIRS))
    reports.write_text(f"{stage.folder}/{FIGURES}", json.dumps(survey.figures()) + "\n")
    extra = {
        "rows_in": captions.num_rows,
        "failures": dict(failures),
        "splits": dict(Counter(pair.split for pair in pairs)),
    }
    settings = config.model_dump(mode="json")
    manifest = stage.commit(config=settings, inputs=inputs, extra=extra, expected=len(pairs))
    return _report(manifest, seconds=time.monotonic() - started, reused=False)


def least_confidence(config: PairsConfig, captions: pa.Table) -> float:
    """What `min_confidence` says, or what suits the models that captioned."""
    if config.min_confidence is not None:
        return config.min_confidence
    own = all(model.startswith(OWN) for model in captions["model"].unique().to_pylist())
    return SURE if own else 0.0


def _report(manifest: Manifest, seconds: float, reused: bool) -> StageReport:
    splits = ", ".join(f"{rows} {split}" for split, rows in sorted(manifest.extra["splits"].items()))
    return StageReport(
        "pairs",
        rows_in=manifest.extra["rows_in"],
        rows_out=manifest.rows,
        failures=manifest.extra["failures"],
        seconds=seconds,
        reused=reused,
        note=splits,
    )
