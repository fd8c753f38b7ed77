"""CAPTIONS + IMAGES -> PAIRS: embeds the captioned pictures on Ray, mines the pairs on the driver.

Every captioned image ends as the reference of one pair or is counted, by reason, in the report and
in the manifest's `extra`: "no_caption" (its caption failed), "no_vector" (its picture is gone or
cannot be decoded), "no_partner" (nothing acceptable among its neighbours). Embedding is done again
after a kill: it is quick, and PAIRS is one part.
"""

import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.dataflow import read_parts
from facap.model import checkpoints
from facap.progress import Progress, StageReport, check_failures
from facap.schemas import OK, PAIRS, from_rows
from facap.splits import split_of
from facap.store import Manifest, Store, stage_key
from facap.triplets.config import PairsConfig

VERSION = 1


def run(store: Store, config: PairsConfig, progress: Progress) -> StageReport:
    """Makes PAIRS; StageFailed if more than `max_failure_rate` of the images end without a pair."""
    started = time.monotonic()
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

    from facap.triplets.pairing import Member, mine_pairs

    captions = store.read("captions", ["image_id", "product_id", "category", "attributes", "status"])
    members: dict[str, Member] = {}
    failures: Counter[str] = Counter()
    for row in captions.to_pylist():
        if row["status"] != OK:
            failures["no_caption"] += 1
            continue
        attributes = dict(row["attributes"] or [])
        members[row["image_id"]] = Member(
            row["image_id"], row["product_id"], row["category"], split_of(row["product_id"]), attributes
        )
    vectors = embed(store, set(members), config, progress)
    failures["no_vector"] = len(members) - len(vectors)
    found = [members[image_id] for image_id in sorted(vectors)]
    pairs = []
    if found:
        vectors_ND = np.stack([vectors[member.image_id] for member in found])
        pairs = mine_pairs(found, vectors_ND, config)
    failures["no_partner"] = len(found) - len(pairs)
    failures = +failures  # drops the reasons that did not occur
    check_failures("pairs", {OK: len(pairs), **failures}, config.max_failure_rate)

    done = stage.done("reference_id")
    rows = [asdict(pair) for pair in pairs if pair.reference_id not in done]
    if rows:
        stage.write(from_rows(rows, PAIRS))
    extra = {
        "rows_in": captions.num_rows,
        "failures": dict(failures),
        "splits": dict(Counter(pair.split for pair in pairs)),
    }
    manifest = stage.commit(config=config.model_dump(mode="json"), inputs=inputs, extra=extra)
    return _report(manifest, seconds=time.monotonic() - started, reused=False)


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


def embed(
    store: Store, image_ids: set[str], config: PairsConfig, progress: Progress
) -> dict[str, np.ndarray]:
    """image_id -> unit float32 vector (D,) of each of `image_ids` that is kept in IMAGES and decodes."""
    import ray

    columns = ["image_id", "bytes", "status", "duplicate_of"]
    rows = read_parts(store, "images", columns)
    embedded = rows.map_batches(
        _Embedder,
        fn_constructor_kwargs={"base": config.base, "image_ids": image_ids, "batch_size": config.batch_size},
        batch_format="pyarrow",
        batch_size=None,  # a part at a time, split by the actor: the same batches, hence bits, every time
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=config.num_workers, initial_size=config.num_workers
        ),
        num_cpus=0.5,  # with whole ones, two actors on two cores would leave none to list the files with
    )
    vectors: dict[str, np.ndarray] = {}
    batch: Any
    for batch in embedded.iter_batches(batch_format="pyarrow", batch_size=None):
        vectors |= dict(
            zip(batch.column("image_id").to_pylist(), batch.column("vector").to_numpy(), strict=True)
        )
        progress.update(len(vectors), len(image_ids), "embedded")
    return vectors


class _Embedder:
    """A Ray actor: IMAGES rows -> image_id and vector of those that are wanted."""

    def __init__(self, base: str, image_ids: set[str], batch_size: int) -> None:
        from facap.model.baselines import Baseline

        self.baseline = Baseline.load(base, "image_only")
        self.wanted = pa.array(sorted(image_ids), pa.string())
        self.batch_size = batch_size

    def __call__(self, block: pa.Table) -> pa.Table:
        from facap.model.preprocess import decode

        kept = pc.and_(pc.equal(block.column("status"), OK), pc.is_null(block.column("duplicate_of")))
        block = block.filter(pc.and_(kept, pc.is_in(block.column("image_id"), self.wanted)))
        ids, images = [], []
        for row in block.select(["image_id", "bytes"]).to_pylist():
            try:
                images.append(decode(row["bytes"]))
            except OSError:  # counted as no_vector: the picture was damaged after the crawl
                continue
            ids.append(row["image_id"])
        vectors: list[Any] = []
        for start in range(0, len(images), self.batch_size):
            vectors += list(self.baseline.candidates(images[start : start + self.batch_size]))
        return pa.table(
            {"image_id": pa.array(ids, pa.string()), "vector": pa.array(vectors, pa.list_(pa.float32()))}
        )
