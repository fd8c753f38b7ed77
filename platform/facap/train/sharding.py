"""How the model is spread over ranks: FSDP2 on every block, and nothing of that in the model's code.

    >>> shard(model, device_mesh("cpu", world_size=2), reshard_after_forward=False)    # doctest: +SKIP

Afterwards parameters are DTensors of which a rank holds a piece; call the model by its `forward`.
"""

from typing import cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from facap.model.fashionblip2 import FashionBlip2


def device_mesh(device_type: str, world_size: int) -> DeviceMesh:
    """One dimension over all ranks: gloo on "cpu", NCCL on "cuda"."""
    return init_device_mesh(device_type, (world_size,))


def blocks(model: FashionBlip2) -> list[nn.Module]:
    """Those of the image encoder, then the Q-Former's layers."""
    return [*model.vision_model.encoder.layers, *model.qformer.encoder.layer]


def shard(model: FashionBlip2, mesh: DeviceMesh, reshard_after_forward: bool) -> None:
    """Shards every vision and Q-Former block on its own, and the rest as the root, in place."""
    for block in blocks(model):
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard_after_forward)
    fully_shard(cast(nn.Module, model), mesh=mesh, reshard_after_forward=reshard_after_forward)


def reshard(model: nn.Module) -> None:
    """Frees gathered weights that a forward pass without a backward one left behind."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local_numbers(model: nn.Module) -> tuple[int, int]:
    """(numbers of sharded parameters that this rank holds, numbers of those parameters in all)."""
    sharded = [p for p in model.parameters() if isinstance(p, DTensor)]
    return sum(p.to_local().numel() for p in sharded), sum(p.numel() for p in sharded)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A DTensor put together from all ranks (a collective); any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
