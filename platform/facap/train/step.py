"""One optimiser step: the loss of the global batch, in one pass or in two.

In one pass the activations of all of a rank's triplets are in memory at once. In two (`micro_batch`), as
GradCache does (Gao et al. 2021), the first embeds the triplets in pieces without keeping activations, the
loss gives the gradient of every embedding, and the second embeds each piece again and takes that gradient
back through the model. It costs one more forward pass, and the gradients are those of the one pass: batches
of thousands, with all their negatives, on small devices.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from facap.model.fashionblip2 import FashionBlip2
from facap.model.text import Tokens
from facap.train.config import TrainConfig
from facap.train.feed import Pictures
from facap.train.loss import global_loss
from facap.train.sharding import whole


@dataclass(frozen=True)
class Rows:
    """What the model is given for B triplets: U distinct images, and which of them each shows."""

    images: torch.Tensor  # pixels UCHW, or trunk outputs UNE
    below_trunk: bool  # whether `images` are pixels
    query_images_B: torch.Tensor
    candidate_images_G: torch.Tensor  # the B targets, then the references if they are candidates too
    input_ids_BL: torch.Tensor
    attention_mask_BL: torch.Tensor

    def __len__(self) -> int:
        return len(self.query_images_B)


def rows_of(
    batch: dict[str, list[Any]], pictures: Pictures, tokens: Tokens, references: bool, device: torch.device
) -> Rows:
    """The triplets of `batch`; `references`: whether their reference pictures are candidates too."""
    ids, mask = tokens(batch["modification"])
    shown = batch["reference_id"] + batch["target_id"]
    distinct = {image: i for i, image in enumerate(dict.fromkeys(shown))}
    reference_B, target_B = torch.tensor([distinct[image] for image in shown], device=device).chunk(2)
    return Rows(
        images=pictures.inputs([pictures.position[image] for image in distinct]).to(device),
        below_trunk=not pictures.cached,
        query_images_B=reference_B,
        candidate_images_G=torch.cat([target_B, reference_B]) if references else target_B,
        input_ids_BL=ids.to(device),
        attention_mask_BL=mask.to(device),
    )


def train_step(
    model: FashionBlip2,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, list[Any]],
    pictures: Pictures,
    tokens: Tokens,
    config: TrainConfig,
    device: torch.device,
) -> dict[str, float]:
    """One optimiser step on this rank's rows and, through collectives, on everybody's.

    `data_s` is the time, s, in which the model waited for its inputs.
    """
    began = time.perf_counter()
    size = len(batch["modification"])
    piece = config.micro_batch or size
    pieces = [
        rows_of(
            {name: values[start : start + piece] for name, values in batch.items()},
            pictures, tokens, config.reference_negatives, device,
        )
        for start in range(0, size, piece)
    ]  # fmt: skip
    products = [torch.tensor(batch[f"{side}_product"], device=device) for side in ("target", "reference")]
    data_s = time.perf_counter() - began
    optimizer.zero_grad(set_to_none=True)
    loss, temperature = backward(model, pieces, products, config)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    norm = whole(torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm))
    optimizer.step()
    return {"loss": loss, "temperature": temperature, "grad_norm": norm.item(), "data_s": data_s}


def backward(
    model: FashionBlip2, pieces: Sequence[Rows], products: Sequence[torch.Tensor], config: TrainConfig
) -> tuple[float, float]:
    """Gradients of the global loss on this rank's `pieces`; returns (loss, temperature).

    `products`: a number for each target and for each reference, over all pieces.
    """
    if len(pieces) == 1:
        query, candidate, temperature = _embed(model, pieces[0], config)
        loss = _loss(query, candidate, temperature, [len(pieces[0])], products, config)
        loss.backward()
        return loss.item(), temperature.item()
    randomness, embedded = [], []
    for rows in pieces:
        randomness.append(_Randomness(rows.images.device))
        with torch.no_grad():
            embedded.append(_embed(model, rows, config))
    query, candidate = (torch.cat([part[i] for part in embedded]).requires_grad_() for i in range(2))
    temperature = embedded[0][2].clone().requires_grad_()
    loss = _loss(query, candidate, temperature, [len(rows) for rows in pieces], products, config)
    of_query, of_candidate, of_temperature = torch.autograd.grad(loss, [query, candidate, temperature])
    wanted = zip(
        of_query.split([len(part[0]) for part in embedded]),
        of_candidate.split([len(part[1]) for part in embedded]),
        [of_temperature / len(pieces)] * len(pieces),
        strict=True,
    )
    for rows, random, gradients in zip(pieces, randomness, wanted, strict=True):
        with random.again():
            again = _embed(model, rows, config)
        torch.autograd.backward(again, gradients)
    return loss.item(), temperature.item()


def _embed(
    model: FashionBlip2, rows: Rows, config: TrainConfig
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(query BD, candidate GD, temperature of one element)."""
    with torch.autocast(rows.images.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        query, candidate, temperature = model(
            rows.images,
            rows.query_images_B,
            rows.candidate_images_G,
            rows.input_ids_BL,
            rows.attention_mask_BL,
            rows.below_trunk,
        )
    return query, candidate, temperature


def _loss(
    query_BD: torch.Tensor,
    candidate_GD: torch.Tensor,
    temperature: torch.Tensor,
    sizes: Sequence[int],
    products: Sequence[torch.Tensor],
    config: TrainConfig,
) -> torch.Tensor:
    """The global loss; the candidates of each piece are its targets and then, perhaps, its references."""
    sides = 2 if config.reference_negatives else 1
    parts = candidate_GD.split([size for size in sizes for _ in range(sides)])
    return global_loss(
        query_BD,
        torch.cat(parts[::sides]),
        torch.cat(parts[1::2]) if config.reference_negatives else None,
        products[0],
        products[1] if config.reference_negatives else None,
        temperature,
        two_way=config.two_way,
        hardness=config.hardness,
    )


class _Randomness:
    """The state of the generators now, so that dropout can be the same once more."""

    def __init__(self, device: torch.device) -> None:
        self.devices = [device] if device.type == "cuda" else []
        self.cpu = torch.get_rng_state()
        self.others = [torch.cuda.get_rng_state(one) for one in self.devices]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Random numbers are those of then; afterwards all goes on as if nothing had been."""
        with torch.random.fork_rng(self.devices):
            torch.set_rng_state(self.cpu)
            for device, state in zip(self.devices, self.others, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
