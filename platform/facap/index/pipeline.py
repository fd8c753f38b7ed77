"""The index stage: kept IMAGES + a model -> EMBEDDINGS -> the artefact "index".

    >>> run(store, IndexConfig(), Progress("index"), "/models/champion", "3")   # doctest: +SKIP
    StageReport(stage='index', rows_in=4100, rows_out=4100, ...)

Embedding resumes where a killed run stopped; building the index is short and starts anew.
"""

import time
from typing import Any

from facap.errors import ConfigError
from facap.index.config import RUN_ONLY, IndexConfig
from facap.model.checkpoints import weights_hash
from facap.model.embed import TRAINED, Workers, embed, require_all, trained_model, vectors
from facap.model.saved import settings_of
from facap.progress import Progress, StageReport
from facap.store import Manifest, Stage, Store, stage_key

VERSION = 1


def run(
    store: Store, config: IndexConfig, progress: Progress, model_folder: str, model_version: str
) -> StageReport:
    """Embeds what is not embedded yet and builds the index; needs Ray running."""
    started = time.monotonic()
    if settings_of(model_folder).matching == "best_token":
        raise ConfigError(
            "index: the model compares by train.model.matching best_token, whose scores are no inner product "
            "that an index could search by; promote a model with another"
        )
    images = store.require("images")
    workers = Workers(
        config.num_actors, config.actor_cpus, config.torch_threads, config.batch_size, config.rows_per_part
    )
    embeddings = embed(store, TRAINED, trained_model(model_folder), workers, progress)
    require_all(embeddings, "index")
    settings = config.model_dump(mode="json", exclude=set(RUN_ONLY))
    made_from = {
        "embeddings": embeddings.fingerprint,
        "images": images.fingerprint,
        "model": weights_hash(model_folder),
        "model_version": model_version,
    }
    index = store.stage("index", None, stage_key("index", VERSION, settings, made_from))
    finished = index.finished()
    manifest = finished or _build(store, index, config, settings, made_from, images)
    count = int(manifest.extra["count"])
    note = f"{manifest.extra['kind']}, {manifest.extra['dim']} dimensions, model version {model_version}"
    seconds = time.monotonic() - started
    return StageReport("index", count, count, seconds=seconds, reused=finished is not None, note=note)


def _build(
    store: Store,
    stage: Stage,
    config: IndexConfig,
    settings: dict[str, Any],
    made_from: dict[str, str],
    images: Manifest,
) -> Manifest:
    from facap.index.build import FILES, IndexMetadata, build_index, write_index

    embeddings = store.read(TRAINED).sort_by("image_id")  # so that parts' order does not matter
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
