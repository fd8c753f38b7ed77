"""What every rank runs: build, shard, resume, then step by step with validation after every epoch.

`train_rank` is the function that Ray Train starts on each worker. All ranks take the same number of
steps and report equally often, as Ray Train's and FSDP's collectives need.
"""

import itertools
import json
import math
import tempfile
import time
from typing import Any

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from facap.errors import ConfigError
from facap.model.adapters import is_adapter
from facap.model.fashionblip2 import FashionBlip2
from facap.model.saved import load_pretrained, save_pretrained
from facap.model.text import Tokens
from facap.train import checkpoint
from facap.train.config import TrainConfig
from facap.train.feed import Pictures, epoch_batches, read_rows
from facap.train.sharding import device_mesh, local_numbers, shard
from facap.train.step import train_step
from facap.train.validation import recall_at_10

SUMMARY = "training.json"  # beside the model, written last: its metrics, steps and ranks
TRUNK_BATCH = 64  # pictures a forward pass of the frozen trunk


def starting_model(config: TrainConfig) -> FashionBlip2:
    """A fresh model on its base, or the trained one that training goes on from, temperature and all.

    Raises ConfigError if that one has other settings.
    """
    if config.start_from:
        model, _ = load_pretrained(config.start_from)
        if model.config != config.model:
            other = [name for name, value in model.config if getattr(config.model, name) != value]
            raise ConfigError(
                f"train.start_from '{config.start_from}' was trained with another train.model.{other[0]} "
                f"({getattr(model.config, other[0])}); give the same"
            )
        return model
    model = FashionBlip2.from_base(config.model)
    with torch.no_grad():
        model.log_temperature.fill_(math.log(config.temperature))
    return model


def steps_per_epoch(rows: int, batch_size: int, ranks: int) -> tuple[int, int]:
    """(steps of an epoch, triplets a rank and step); what is left of the rows is left out.

    >>> steps_per_epoch(3201, 64, 2)
    (50, 32)
    """
    share = rows // ranks
    local = min(max(1, batch_size // ranks), share)
    return share // local, local


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rates: linear rise over `warmup` steps, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def build_optimizer(model: FashionBlip2, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with a learning rate for each part; only matrices decay. Betas are SPRC's."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.lr_qformer
        if is_adapter(name):
            rate = config.lr_adapters
        elif name.startswith(("matching.", "log_temperature")):
            rate = config.lr_matching
        decay = config.weight_decay if parameter.ndim == 2 and "embeddings" not in name else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": rate, "base_lr": rate, "weight_decay": d} for (rate, d), p in groups.items()],
        betas=(0.9, 0.98),
        fused=True,  # one call a group rather than ten a tensor, each of them through DTensor's dispatch
    )


@torch.no_grad()
def trunk_states(model: FashionBlip2, pictures: Pictures, rank: int, ranks: int) -> torch.Tensor:
    """The frozen trunk's output for every picture: each rank computes its share, then they exchange."""
    mine = list(range(rank, len(pictures), ranks))
    parts = [
        model.trunk(pictures.pixels(mine[i : i + TRUNK_BATCH])) for i in range(0, len(mine), TRUNK_BATCH)
    ]
    shape = model.trunk(pictures.pixels([0])).shape[1:]
    states = torch.zeros(len(pictures), *shape)
    if parts:
        states[mine] = torch.cat(parts)
    for piece in states.split(256):
        dist.all_reduce(piece)
    return states


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

    model.to(device)
    shard(model, device_mesh(device.type, ranks), config.reshard_after_forward)
    optimizer = build_optimizer(model, config)
    torch.manual_seed(config.seed + 1 + rank)
    per_epoch, local = steps_per_epoch(len(rows), config.batch_size, ranks)
    steps = per_epoch * config.epochs
    held, total = local_numbers(model)
    log = job["log"]
    start = {"rank": rank, "ranks": ranks, "device": str(device), "held": held, "total": total}
    log.add.remote("start", start | {"pictures": len(pictures), "steps": steps, "batch": local})

    step = 0
    latest = ray.train.get_checkpoint()
    if latest is not None:
        with latest.as_directory() as folder:
            step = checkpoint.load(folder, model, optimizer)
        log.add.remote("resume", {"rank": rank, "step": step})

    metrics: dict[str, float] = {}
    for epoch in range(step // per_epoch, config.epochs):
        model.train()
        done = step - epoch * per_epoch  # more than 0 only in the epoch that a kill interrupted
        batches = epoch_batches(rows, local, rank, ranks, [config.seed, epoch])
        for batch in itertools.islice(batches, done, per_epoch):
            began = time.perf_counter()
            factor = learning_rate(step, steps, int(config.warmup_share * steps))
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            metrics = train_step(model, optimizer, batch, pictures, tokens, config, device)
            step += 1
            seconds = time.perf_counter() - began
            if rank == 0:
                speed = {"samples_per_s": local * ranks / seconds, "step": step, "steps": steps}
                log.add.remote("step", metrics | speed | {"epoch": epoch})
            if step % config.checkpoint_every_steps == 0 and step % per_epoch:
                report(model, optimizer, step, metrics)
        assert step == (epoch + 1) * per_epoch, (rank, epoch, step, per_epoch)
        metrics |= recall_at_10(model, pictures, tokens, val, local, config.precision, device)
        if rank == 0:
            log.add.remote("epoch", metrics | {"epoch": epoch, "step": step})
        report(model, optimizer, step, metrics)

    if not metrics:  # killed between the last checkpoint and the save below
        metrics = recall_at_10(model, pictures, tokens, val, local, config.precision, device)
    state = checkpoint.gather_trained(model)
    if rank == 0:
        summary = {"metrics": metrics, "steps": step, "ranks": ranks} | job["summary"]
        write_model(model, tokens, state, job["folder"], summary)
        ray.get(log.add.remote("done", {"step": step} | metrics))
    dist.barrier()


def report(
    model: FashionBlip2, optimizer: torch.optim.Optimizer, step: int, metrics: dict[str, float]
) -> None:
    """Hands Ray Train a sharded checkpoint; every rank calls it, each with a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="facap-checkpoint-") as folder:
        checkpoint.save(folder, model, optimizer, step)
        ray.train.report(metrics | {"step": step}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def write_model(
    model: FashionBlip2,
    tokens: Tokens,
    state: dict[str, torch.Tensor],
    folder: str,
    summary: dict[str, Any],
) -> None:
    """Copies the model to `folder` (a path or URI), and then the summary, which marks it complete."""
    target, base = pyarrow.fs.FileSystem.from_uri(folder)
    target.create_dir(base, recursive=True)
    with tempfile.TemporaryDirectory(prefix="facap-model-") as local:
        for name in save_pretrained(model, tokens, local, state):
            pyarrow.fs.copy_files(f"{local}/{name}", f"{base}/{name}", destination_filesystem=target)
    with target.open_output_stream(f"{base}/{SUMMARY}.tmp") as out:
        out.write(json.dumps(summary, indent=1).encode())
    target.move(f"{base}/{SUMMARY}.tmp", f"{base}/{SUMMARY}")
