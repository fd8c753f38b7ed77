"""The index stage: kept IMAGES + a model -> EMBEDDINGS -> the artefact "index".

    >>> run(store, IndexConfig(), Progress("index"), "/models/champion", "3")   # doctest: +SKIP
    StageReport(stage='index', rows_in=4100, rows_out=4100, ...)

Embedding resumes where a killed run stopped; building the index is short and starts anew.
"""

import time
from collections.abc import Callable
from typing import Any

from facap.dataflow import read_parts, write_rows
from facap.errors import ContractError, StageFailed
from facap.index.config import RUN_ONLY, IndexConfig
from facap.index.embed import (
    IMAGE_COLUMNS,
    EmbedPictures,
    ImageEncoder,
    Unembedded,
    kept,
    load_encoder,
    vectors,
)
from facap.model.checkpoints import weights_hash
from facap.progress import Progress, StageReport
from facap.schemas import EMBEDDINGS
from facap.store import Manifest, Stage, Store, stage_key

VERSION = 1


def run(
    store: Store,
    config: IndexConfig,
    progress: Progress,
    model_folder: str,
    model_version: str,
    load: Callable[[str], ImageEncoder] = load_encoder,
) -> StageReport:
    """Embeds what is not embedded yet and builds the index; needs Ray running.

    `load` opens the model folder in every worker.
    """
    started = time.monotonic()
    images = store.require("images")
    inputs = {
        "images": images.fingerprint,
        "model": weights_hash(model_folder),
        "model_version": model_version,
    }
    settings = config.model_dump(mode="json", exclude=set(RUN_ONLY))
    embeddings = store.stage("embeddings", EMBEDDINGS, stage_key("embed", VERSION, None, inputs))
    if not embeddings.finished():
        model = (model_folder, model_version, config.torch_threads, load)
        _embed(store, embeddings, config, progress, model)
        embeddings.commit(config={}, inputs=inputs)
    made_from = {"embeddings": store.fingerprint("embeddings"), **inputs}
    index = store.stage("index", None, stage_key("index", VERSION, settings, made_from))
    finished = index.finished()
    manifest = finished or _build(store, index, config, settings, made_from, images)
    count = int(manifest.extra["count"])
    note = f"{manifest.extra['kind']}, {manifest.extra['dim']} dimensions, model version {model_version}"
    seconds = time.monotonic() - started
    return StageReport("index", count, count, seconds=seconds, reused=finished is not None, note=note)


def _embed(store: Store, stage: Stage, config: IndexConfig, progress: Progress, model: tuple) -> None:
    import ray

    wanted = kept(store.read("images", ["image_id", "status", "duplicate_of"])).column("image_id").to_pylist()
    if not wanted:
        raise StageFailed(
            "index: IMAGES holds no picture that was fetched; look at the crawl's failures first"
        )
    if len(set(wanted)) < len(wanted):
        raise ContractError(
            f"IMAGES: {len(wanted) - len(set(wanted))} kept rows repeat another row's image_id; "
            "duplicates should have duplicate_of set, run the crawl again"
        )
    done = stage.done("image_id")
    if len(done) == len(wanted):
        return
    rows = read_parts(store, "images", IMAGE_COLUMNS)
    todo = rows.map_batches(Unembedded(done), batch_format="pyarrow")
    embedded = todo.map_batches(
        EmbedPictures,
        fn_constructor_args=model,
        batch_format="pyarrow",
        batch_size=config.batch_size,
        compute=ray.data.ActorPoolStrategy(size=config.num_actors),
        num_cpus=config.actor_cpus,
    )
    write_rows(embedded, stage, len(wanted), progress, rows_per_part=config.rows_per_part)
    missing = len(set(wanted) - stage.done("image_id"))
    if missing:
        raise StageFailed(
            f"index: {missing} of {len(wanted)} pictures were not embedded; run it again to go on"
        )


def _build(
    store: Store,
    stage: Stage,
    config: IndexConfig,
    settings: dict[str, Any],
    made_from: dict[str, str],
    images: Manifest,
) -> Manifest:
    from facap.index.build import FILES, IndexMetadata, build_index, write_index

    embeddings = store.read("embeddings").sort_by("image_id")  # so that parts' order does not matter
    vectors_ND = vectors(embeddings)
    metadata = IndexMetadata(
        model_version=made_from["model_version"],
        model_fingerprint=made_from["model"],
        dim=vectors_ND.shape[1],
        count=len(vectors_ND),
        kind=config.kind,
        images_fingerprint=images.fingerprint,
        image_files=images.files,
        settings=settings,
    )
    write_index(stage.folder, build_index(vectors_ND, config), embeddings, metadata)
    extra = {
        "kind": metadata.kind,
        "dim": metadata.dim,
        "count": metadata.count,
        "metric": metadata.metric,
        "model_version": metadata.model_version,
        "model_fingerprint": metadata.model_fingerprint,
    }
    return stage.commit(config=settings, inputs=made_from, files=FILES, extra=extra)
