"""TRIPLETS + IMAGES -> the artefact "model": FashionBLIP-2 trained by Ray Train with FSDP2.

A killed run resumes from its last sharded checkpoint under <workspace>/train-runs/<name>; the name
comes from the stage's key, so other settings or inputs make another run.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from facap.errors import StageFailed, WorkspaceError
from facap.model.checkpoints import content, pinned, resolve, weights_hash
from facap.progress import Progress, StageReport
from facap.store import Stage, Store, stage_key
from facap.train import chosen
from facap.train.config import NOT_IN_KEY, TrainConfig

VERSION = 3
TRAINED_ON = "trained_on.parquet"  # beside the model: image_id and product_id of what it was trained on


def run(store: Store, config: TrainConfig, progress: Progress) -> StageReport:
    """Trains unless this very model is there; returns what went in and how good it came out."""
    began = time.monotonic()
    model = config.model.model_copy(update={"base": pinned(config.model.base)})
    config = config.model_copy(update={"model": model})
    unset = set() if chosen.is_filtered(config) else chosen.FILTERS  # then as if there were no such setting
    settings = config.model_dump(mode="json", exclude=NOT_IN_KEY | unset)
    inputs = {name: store.fingerprint(name) for name in ("triplets", "images")}
    inputs["base"] = content(config.model.base)
    if config.start_from:
        from facap.train.setup import check_start

        check_start(config)  # what is wrong with it is said before anything starts
        inputs["start"] = weights_hash(config.start_from)
    if chosen.is_filtered(config):
        inputs["verdicts"] = chosen.verdicts(store).fingerprint
    key = stage_key("train", VERSION, settings, inputs)
    stage = store.stage("model", None, key)
    rows = store.require("triplets").rows
    finished = stage.finished()
    if finished is None:
        summary = read_summary(stage)
        if summary is None:
            train(store, stage, config, inputs, progress)
            summary = read_summary(stage)
        else:  # killed when the training was done
            from facap.train.tracking import finish_run

            finish_run(store, config.mlflow_uri, summary["mlflow_run_id"], progress)
        if summary is None:
            raise StageFailed(
                f"train: the run '{run_name(key)}' ended without writing {stage.folder}; remove "
                f"{store.path('train-runs', run_name(key))} and run again"
            )
        files = artefact_files(stage)
        extra = summary | {"checksums": checksums(stage, files)}
        finished = stage.commit(config=settings, inputs=inputs, files=files, extra=extra)
        reused = False
    else:
        reused = True
    extra = finished.extra
    recall = extra["metrics"].get("val_recall_at_10")
    note = f"{extra['steps']} steps on {extra['ranks']} ranks"
    note += f", kept that of step {extra['kept_step']}" if extra["kept_step"] < extra["steps"] else ""
    note += f", val R@10 {recall:.1%}" if recall is not None else ""
    return StageReport(
        "train", rows, extra["train_rows"], seconds=time.monotonic() - began, reused=reused, note=note
    )


def run_name(key: str) -> str:
    """The Ray Train run of a key: the same name resumes, and a finished name trains nothing."""
    return f"fashionblip2-{key}"


def train(
    store: Store, stage: Stage, config: TrainConfig, inputs: dict[str, str], progress: Progress
) -> None:
    """Runs the ranks to the end; rank 0 writes model and summary to the stage's folder."""
    from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from facap.tracking import open_client
    from facap.train.feed import training_data
    from facap.train.loop import train_rank
    from facap.train.samples import Sheets
    from facap.train.tracking import Follower, TrainLog, first_cause, open_run, system_metrics

    image_px = base_image_px(config.model.base)
    left_out = chosen.left_out(store, config)
    data = training_data(store, image_px, config.decode_once, left_out)
    if len(data.train) < config.num_workers:
        raise StageFailed(
            f"train: {len(data.train)} triplets for {config.num_workers} workers; lower num_workers"
        )
    if chosen.is_filtered(config):
        progress.say(f"{len(left_out):,} triplets left out by VERDICTS")
    progress.say(
        f"{len(data.train):,} train and {len(data.val):,} val triplets, {data.images.count():,} pictures"
    )
    write_trained_on(store, stage, config, data.train)
    client = open_client(store, config.mlflow_uri)
    params = config.model_dump(mode="json") | {
        "train_rows": len(data.train),
        "ranks": config.num_workers,
        "key": stage.key,
        "inputs": inputs,
    }
    run_id = open_run(client, stage.key, params)
    # Ray Train gives workers a minute to start; importing torch on a busy machine can take longer.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
    actor: Any = TrainLog.remote()  # type: ignore[attr-defined]
    trainer = TorchTrainer(
        train_rank,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "folder": stage.folder,
            "summary": {"mlflow_run_id": run_id, "train_rows": len(data.train)},
            "log": actor,
        },
        scaling_config=ScalingConfig(
            num_workers=(config.min_workers, config.num_workers)
            if config.min_workers
            else config.num_workers,
            use_gpu=config.device == "gpu",
            resources_per_worker={"CPU": config.cpus_per_worker}
            | ({"GPU": 1} if config.device == "gpu" else {}),
        ),
        run_config=RunConfig(
            name=run_name(stage.key),
            storage_path=store.path("train-runs"),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=config.worker_retries),
        ),
        datasets=data.datasets(),
        dataset_config=DataConfig(datasets_to_split=[]),
    )
    log_file = Path(store.path("logs", "train.log")) if store.is_local else None
    try:
        with (
            Follower(actor, progress, log_file, client, run_id, Sheets(store)),
            system_metrics(store, config.mlflow_uri, run_id),
        ):
            trainer.fit()
    except TrainingFailedError as error:
        raise StageFailed(
            f"train: a worker failed: {first_cause(error)}; see {log_file} and Ray's logs"
        ) from error


def base_image_px(base: str) -> int:
    """The picture size of a base checkpoint, px."""
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(resolve(base)).vision_config.image_size)


def _folder(stage: Stage) -> tuple[Any, str]:
    return pyarrow.fs.FileSystem.from_uri(stage.folder)


def artefact_files(stage: Stage) -> list[str]:
    """Names of the files in the stage's folder."""
    filesystem, base = _folder(stage)
    infos = filesystem.get_file_info(pyarrow.fs.FileSelector(base, allow_not_found=True))
    names = [info.base_name for info in infos if info.is_file]
    return [name for name in names if not name.endswith(".tmp")]  # a kill may have left one


def checksums(stage: Stage, files: list[str]) -> dict[str, str]:
    """SHA-256 of the files in the stage's folder, by which the registry knows them again."""
    filesystem, base = _folder(stage)
    found = {}
    for name in files:
        with filesystem.open_input_file(f"{base}/{name}") as source:
            found[name] = hashlib.sha256(source.read()).hexdigest()
    return found


def write_trained_on(store: Store, stage: Stage, config: TrainConfig, rows: pa.Table) -> None:
    """The pictures that training shows and those that `start_from` was trained on, with their products."""
    images = store.read("images", ["image_id", "product_id"])
    shown = pa.array({i for side in ("reference_id", "target_id") for i in rows[side].to_pylist()})
    seen = images.filter(pc.is_in(images["image_id"], value_set=shown))
    before = Path(config.start_from) / TRAINED_ON
    if config.start_from and before.exists():
        seen = pa.concat_tables([seen, pq.read_table(before).cast(seen.schema)])
    filesystem, base = _folder(stage)
    filesystem.create_dir(base, recursive=True)
    table = seen.group_by(["image_id", "product_id"]).aggregate([]).sort_by("image_id")
    pq.write_table(table, f"{base}/{TRAINED_ON}", filesystem=filesystem)


def read_summary(stage: Stage) -> dict[str, Any] | None:
    """What training said of the model in the stage's folder, or None if it is not complete."""
    from facap.train.loop import SUMMARY

    filesystem, base = _folder(stage)
    try:
        with filesystem.open_input_stream(f"{base}/{SUMMARY}") as source:
            return dict(json.loads(source.read()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{stage.folder}/{SUMMARY} cannot be read: {error}; remove it") from error
