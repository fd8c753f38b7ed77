"""Sharded checkpoints: every rank writes its own pieces, any number of ranks reads them back.

A checkpoint is a torch.distributed.checkpoint folder with the trained parameters, the optimiser's
state, the position and each rank's random state. Ranks may write to folders of their own, which
`ray.train.report` then merges.

    >>> save(folder, model, optimizer, Position(step=50))                    # doctest: +SKIP
    >>> load(folder, model, optimizer)
    Position(step=50, best_recall=-1.0, rise_step=0, best_step=0)
"""

from dataclasses import astuple, dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)


@dataclass(frozen=True)
class Position:
    """How far training is, and how far it was at the best validation recall (0: none was measured yet)."""

    step: int = 0
    best_recall: float = -1.0
    rise_step: int = 0  # when this recall was reached
    best_step: int = 0  # when it was seen last: of equals the longest trained model is kept

    def after(self, recall: float) -> "Position":
        """With a recall that was measured now."""
        if recall < self.best_recall:
            return self
        rise = self.step if recall > self.best_recall else self.rise_step
        return Position(self.step, recall, rise, self.step)


TRAINED_ONLY = StateDictOptions(ignore_frozen_params=True, strict=False)


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, at: Position) -> dict[str, Any]:
    parameters, moments = get_state_dict(model, optimizer, options=TRAINED_ONLY)
    return {
        "model": parameters,
        "optimizer": moments,
        "position": torch.tensor(astuple(at), dtype=torch.float64),
        f"random_{dist.get_rank()}": torch.get_rng_state(),
    }


def save(folder: str, model: nn.Module, optimizer: torch.optim.Optimizer, at: Position) -> None:
    """Writes this rank's share to `folder`; every rank must call it."""
    dcp.save(_state(model, optimizer, at), checkpoint_id=folder)


def load(folder: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Fills model and optimiser from the merged `folder`, returns where it was; every rank must call it.

    With another number of ranks than wrote it, a rank without a saved random state keeps its own.
    """
    state = _state(model, optimizer, Position())
    own = f"random_{dist.get_rank()}"
    if own not in FileSystemReader(folder).read_metadata().state_dict_metadata:
        del state[own]
    dcp.load(state, checkpoint_id=folder)
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=TRAINED_ONLY,
    )
    if own in state:
        torch.set_rng_state(state[own])
    step, best_recall, rise_step, best_step = state["position"].tolist()
    return Position(int(step), best_recall, int(rise_step), int(best_step))


def gather_trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """The whole trained tensors by name, on rank 0's CPU; empty on other ranks. Every rank calls it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    return cast(dict[str, torch.Tensor], get_model_state_dict(model, options=options))
