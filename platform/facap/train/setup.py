"""What a rank trains: the model on its base, prepared for the device and sharded, and its optimiser.

>>> model = starting_model(config)                                           # doctest: +SKIP
>>> place(model, config, device, ranks=2)
>>> optimizer = build_optimizer(model, config)
"""

import math

import torch
import torch.distributed as dist
from torch.distributed._composable import checkpoint

from facap.errors import ConfigError
from facap.model.adapters import is_adapter
from facap.model.fashionblip2 import FashionBlip2
from facap.model.saved import load_pretrained, settings_of
from facap.train.config import TrainConfig
from facap.train.feed import Pictures
from facap.train.sharding import blocks, device_mesh, shard

TRUNK_BATCH = 64  # pictures a forward pass of the frozen trunk


def check_start(config: TrainConfig) -> None:
    """Raises ConfigError if the trained model that training is to go on from has other settings."""
    found = settings_of(config.start_from)
    if found != config.model:
        other = [name for name, value in found if getattr(config.model, name) != value]
        raise ConfigError(
            f"train.start_from '{config.start_from}' was trained with another train.model.{other[0]} "
            f"({getattr(found, other[0])}); give the same"
        )


def starting_model(config: TrainConfig) -> FashionBlip2:
    """A fresh model on its base, or the trained one that training goes on from, temperature and all.

    Raises ConfigError if that one has other settings.
    """
    if config.start_from:
        check_start(config)
        return load_pretrained(config.start_from)[0]
    model = FashionBlip2.from_base(config.model)
    with torch.no_grad():
        model.log_temperature.fill_(math.log(config.temperature))
    return model


def place(model: FashionBlip2, config: TrainConfig, device: torch.device, ranks: int) -> None:
    """Moves the model to its device and shards it; blocks recompute or are compiled if asked."""
    model.to(device)
    prepare_blocks(model, config)
    shard(model, device_mesh(device.type, ranks), config.reshard_after_forward)


def prepare_blocks(model: FashionBlip2, config: TrainConfig) -> None:
    """Blocks that recompute their activations, or are compiled, as the settings say."""
    for block in blocks(model):
        if config.recompute:
            checkpoint(block)
        if config.compile:
            block.compile()


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


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rates: linear rise over `warmup` steps, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def set_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, steps: int) -> None:
    """The learning rates of one step, counted from 0."""
    factor = learning_rate(step, steps, int(config.warmup_share * steps))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


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
