"""What every rank runs: build, shard, resume, then step by step with validation after every epoch.

What comes out is the model of the last epoch or, by setting, of the one with the best validation recall.

`train_rank` is the function that Ray Train starts on each worker. All ranks take the same number of
steps and report equally often, as Ray Train's and FSDP's collectives need.
"""

import itertools
import json
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from facap.model.fashionblip2 import FashionBlip2
from facap.model.saved import save_pretrained
from facap.model.text import Tokens
from facap.train import checkpoint
from facap.train.config import TrainConfig
from facap.train.feed import Pictures, epoch_batches, read_rows
from facap.train.setup import build_optimizer, place, set_rates, starting_model, trunk_states
from facap.train.sharding import local_numbers
from facap.train.step import train_step
from facap.train.tracking import RECALLS
from facap.train.validation import validate

SUMMARY = "training.json"  # beside the model, written last: its metrics, steps and ranks
TOLD = "told.json"  # in rank 0's checkpoint: its last records, which a kill of the driver may have lost
TOLD_RECORDS = 200
Told = deque[tuple[str, dict[str, Any]]]


def steps_per_epoch(rows: int, batch_size: int, ranks: int) -> tuple[int, int]:
    """(steps of an epoch, triplets a rank and step); what is left of the rows is left out.

    >>> steps_per_epoch(3201, 64, 2)
    (50, 32)
    """
    share = rows // ranks
    local = min(max(1, batch_size // ranks), share)
    return share // local, local


def train_rank(job: dict[str, Any]) -> None:
    """The function of one worker. `job`: see pipeline.train."""
    config = TrainConfig.model_validate(job["config"])
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(config.threads_per_worker)
    device = ray.train.torch.get_device()

    torch.manual_seed(config.seed)  # fresh weights are equal on all ranks before they are sharded
    model = starting_model(config)
    tokens = Tokens.load(config.model.base, config.model.max_text_tokens)
    pictures = Pictures(ray.train.get_dataset_shard("images"), model.image_px, config.decode_once)
    rows = read_rows(ray.train.get_dataset_shard("train"))
    val = read_rows(ray.train.get_dataset_shard("val")).to_pylist()
    if config.cache_trunk and device.type == "cpu":
        pictures.cache(trunk_states(model, pictures, rank, ranks))

    place(model, config, device, ranks)
    optimizer = build_optimizer(model, config)
    torch.manual_seed(config.seed + 1 + rank)
    per_epoch, local = steps_per_epoch(len(rows), config.batch_size, ranks)
    steps = per_epoch * config.epochs
    held, total = local_numbers(model)
    log = job["log"]
    start = {"rank": rank, "ranks": ranks, "device": str(device), "held": held, "total": total}
    log.add.remote("start", start | {"pictures": len(pictures), "steps": steps, "batch": local})

    at = checkpoint.Position()
    told: Told = deque(maxlen=TOLD_RECORDS)
    latest = ray.train.get_checkpoint()
    if latest is not None:
        with latest.as_directory() as folder:
            at = checkpoint.load(folder, model, optimizer)
            if rank == 0 and (kept_records := Path(folder, TOLD)).exists():
                told.extend((kind, values) for kind, values in json.loads(kept_records.read_text()))
        log.add.remote("resume", {"rank": rank, "step": at.step})
        if rank == 0:
            log.add.remote("retold", {"records": list(told)})

    metrics: dict[str, float] = {}
    while at.step < steps and not exhausted(at, config.patience * per_epoch):
        epoch = at.step // per_epoch
        model.train()
        done = at.step - epoch * per_epoch  # more than 0 only in the epoch that a kill interrupted
        batches = epoch_batches(rows, local, rank, ranks, [config.seed, epoch], config.mix_captions)
        began = time.perf_counter()
        for batch in itertools.islice(batches, done, per_epoch):
            set_rates(optimizer, config, at.step, steps)
            waited = time.perf_counter() - began
            metrics = train_step(model, optimizer, batch, pictures, tokens, config, device)
            at = replace(at, step=at.step + 1)
            seconds = time.perf_counter() - began
            metrics["data_share"] = (waited + metrics.pop("data_s")) / seconds
            if rank == 0:
                speed = {"samples_per_s": local * ranks / seconds, "step": at.step, "steps": steps}
                tell(log, told, "step", metrics | speed | {"epoch": epoch})
            if at.step % config.checkpoint_every_steps == 0 and at.step % per_epoch:
                report(model, optimizer, at, metrics, told)
            began = time.perf_counter()
        assert at.step == (epoch + 1) * per_epoch, (rank, epoch, at, per_epoch)
        found = validate(model, pictures, tokens, val, local, config.precision, device)
        metrics |= found.metrics()
        at = at if found.recall is None else at.after(found.recall)
        if config.keep == "best" and at.best_step == at.step:
            write_model(model, tokens, checkpoint.gather_trained(model), job["folder"], rank)
        if rank == 0:
            tell(log, told, "epoch", metrics | {"epoch": epoch, "step": at.step})
            log.add.remote("samples", {"step": at.step, "queries": found.samples})
        report(model, optimizer, at, metrics, told)

    kept = {"kept_step": at.best_step} | ({"val_recall_at_10": at.best_recall} if val else {})
    if config.keep == "last" or not at.best_step:  # the latter: there is nothing to tell a better epoch by
        if not metrics:  # killed between the last checkpoint and here
            metrics = validate(model, pictures, tokens, val, local, config.precision, device).metrics()
        kept = {"kept_step": at.step} | {name: metrics[name] for name in RECALLS if name in metrics}
        write_model(model, tokens, checkpoint.gather_trained(model), job["folder"], rank)
    if rank == 0:
        recall = {name: kept[name] for name in RECALLS if name in kept}
        summary = {"metrics": recall, "steps": at.step, "kept_step": kept["kept_step"], "ranks": ranks}
        write_summary(job["folder"], summary | job["summary"])
        ray.get(log.add.remote("done", {"step": at.step} | kept))
    dist.barrier()


def exhausted(at: checkpoint.Position, patience_steps: int) -> bool:
    """Whether validation recall last rose so many steps ago; never with 0."""
    return bool(patience_steps and at.rise_step and at.step - at.rise_step >= patience_steps)


def tell(log: Any, told: Told, kind: str, values: dict[str, Any]) -> None:
    """Sends a record and keeps it for the next checkpoints."""
    log.add.remote(kind, values)
    told.append((kind, values))


def report(
    model: FashionBlip2,
    optimizer: torch.optim.Optimizer,
    at: checkpoint.Position,
    metrics: dict[str, float],
    told: Told,
) -> None:
    """Hands Ray Train a sharded checkpoint; every rank calls it, each with a folder of its own.

    It is uploaded while training goes on. One that a kill cuts short does not count; the one before stays.
    """
    folder = tempfile.mkdtemp(prefix="facap-checkpoint-")
    checkpoint.save(folder, model, optimizer, at)
    if dist.get_rank() == 0:
        Path(folder, TOLD).write_text(json.dumps(list(told)))
    ray.train.report(
        metrics | {"step": at.step},
        checkpoint=ray.train.Checkpoint.from_directory(folder),
        checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
        delete_local_checkpoint_after_upload=True,
    )


def write_model(
    model: FashionBlip2, tokens: Tokens, state: dict[str, torch.Tensor], folder: str, rank: int
) -> None:
    """Rank 0 copies the model of this `state` to `folder` (a path or URI), over an earlier one.

    Of the files only the weights differ between the two, and each is moved to its place whole, so that a kill
    leaves the one model or the other.
    """
    if rank:
        return
    target, base = pyarrow.fs.FileSystem.from_uri(folder)
    target.create_dir(base, recursive=True)
    with tempfile.TemporaryDirectory(prefix="facap-model-") as local:
        for name in save_pretrained(model, tokens, local, state):
            pyarrow.fs.copy_files(f"{local}/{name}", f"{base}/{name}.tmp", destination_filesystem=target)
            target.move(f"{base}/{name}.tmp", f"{base}/{name}")


def write_summary(folder: str, summary: dict[str, Any]) -> None:
    """Marks the model in `folder` complete."""
    target, base = pyarrow.fs.FileSystem.from_uri(folder)
    with target.open_output_stream(f"{base}/{SUMMARY}.tmp") as out:
        out.write(json.dumps(summary, indent=1).encode())
    target.move(f"{base}/{SUMMARY}.tmp", f"{base}/{SUMMARY}")
