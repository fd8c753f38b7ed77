"""What a training will need, before a GPU is there: parameters, memory a worker, operations a step.

    >>> plan(TrainConfig()).trained                                          # doctest: +SKIP
    2543297

The model is built and a step is run with torch's fake tensors, which have shapes but no numbers. So
parameters and operations are counted, not estimated (matrix products and attention; the rest is little).
Memory is a sum of what is known: weights, gradients, AdamW's two moments, what autograd keeps for the
backward pass. What allocators and NCCL add is not in it.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from facap.errors import ModelMissing
from facap.model.checkpoints import resolve
from facap.model.fashionblip2 import FashionBlip2
from facap.model.matching import scores
from facap.train.config import TrainConfig
from facap.train.setup import prepare_blocks

PUBLISHED = ("Salesforce/blip2-itm-vit-g", "Salesforce/blip2-itm-vit-g-coco")  # of the same architecture
MOMENTS = 2  # of AdamW, float32 like weights and gradients
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """Counts of one training; bytes are of one worker."""

    parameters: int
    trained: int
    batch: int  # triplets of a worker and step
    at_once: int  # of these, whose activations are in memory together
    weight_bytes: int
    optimiser_bytes: int  # gradients and moments
    activation_bytes: int
    cached_bytes_per_picture: int  # trunk outputs that a worker keeps; 0 without cache_trunk
    flops: int  # of a step, all workers together

    @property
    def bytes(self) -> int:
        """Of one worker, without cached pictures."""
        return self.weight_bytes + self.optimiser_bytes + self.activation_bytes

    def lines(self) -> list[str]:
        """For the screen."""
        gib = 2**30
        said = [
            f"parameters      {self.parameters:,}, of which {self.trained:,} are trained",
            f"a step          {self.batch:,} triplets a worker, {self.at_once:,} of them at once",
            f"operations      {self.flops / 1e12:,.3f} TFLOP a step, all workers together",
            f"memory a worker {self.bytes / gib:,.2f} GiB: weights {self.weight_bytes / gib:,.2f}, gradients "
            f"and moments {self.optimiser_bytes / gib:,.2f}, activations {self.activation_bytes / gib:,.2f}",
        ]
        if self.cached_bytes_per_picture:
            said.append(f"cached          {self.cached_bytes_per_picture:,} bytes a picture, in every worker")
        return said


def plan(config: TrainConfig) -> Plan:
    """Counts for these settings. Raises ModelMissing if the base's architecture is not known here."""
    from transformers import Blip2ForImageTextRetrieval

    with torch.device("meta"):
        base = Blip2ForImageTextRetrieval(_architecture(config.model.base))
        model = FashionBlip2(base, config.model).train()
    prepare_blocks(model, config.model_copy(update={"compile": False}))
    cached = config.cache_trunk and config.device == "cpu"
    batch = max(1, config.batch_size // config.num_workers)
    at_once = min(batch, config.micro_batch or batch)
    kept = _Kept()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            _forward(model, config, at_once, cached)
        activation_bytes = kept.bytes(model)
        base.set_attn_implementation("eager")  # the other's operations are unknown to the counter
        with FlopCounterMode(display=False) as counter:
            loss = _forward(model, config, at_once, cached)
            forward = counter.get_total_flops()
            torch.autograd.backward([loss])
            flops = counter.get_total_flops()
    if at_once < batch:  # the first of the two passes
        flops += forward
    picture_bytes = FLOAT_BYTES * math.prod(_hidden_shape(model, 1))
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = parameters
    if config.reshard_after_forward:  # else gathered until the backward pass
        blocks = model.vision_model.encoder.layers
        weights = parameters // config.num_workers + max(_numel(block) for block in blocks)
    return Plan(
        parameters=parameters,
        trained=trained,
        batch=batch,
        at_once=at_once,
        weight_bytes=FLOAT_BYTES * weights,
        optimiser_bytes=FLOAT_BYTES * (1 + MOMENTS) * trained // config.num_workers,
        activation_bytes=activation_bytes,
        cached_bytes_per_picture=picture_bytes if cached else 0,
        flops=int(flops * batch / at_once) * config.num_workers,
    )


def _numel(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _architecture(base: str) -> Any:
    """The Blip2Config of a base: its folder's, or that of the published checkpoints."""
    from transformers import Blip2Config

    if base in PUBLISHED:  # ViT-g/14 of EVA-CLIP and a BERT-base Q-Former, the defaults of Blip2Config
        return Blip2Config(
            qformer_config={"vocab_size": 30523, "use_qformer_text_input": True}, image_text_hidden_size=256
        )
    try:
        return Blip2Config.from_pretrained(resolve(base))
    except (OSError, ValueError) as error:
        raise ModelMissing(
            f"the architecture of '{base}' is not known here ({error}); give facap/<name>, a folder or one "
            f"of {', '.join(PUBLISHED)}"
        ) from error


def _hidden_shape(model: FashionBlip2, size: int) -> tuple[int, int, int]:
    """Of the image encoder's states of `size` pictures."""
    vision = model.vision_model.config
    return size, 1 + (vision.image_size // vision.patch_size) ** 2, vision.hidden_size


def _forward(model: FashionBlip2, config: TrainConfig, size: int, cached: bool) -> torch.Tensor:
    """The sum of all scores of `size` triplets whose pictures all differ."""
    px = model.image_px
    shape = _hidden_shape(model, 2 * size) if cached else (2 * size, 3, px, px)
    index = torch.arange(2 * size)
    text = torch.zeros(size, config.model.max_text_tokens, dtype=torch.long)
    shown = index.flip(0) if config.reference_negatives else index[size:]
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        query, candidate, temperature = model(
            torch.empty(shape), index[:size], shown, text, torch.ones_like(text), not cached
        )
    return (scores(query, candidate) / temperature).sum()


class _Kept:
    """Notes the memory that autograd keeps for the backward pass."""

    def __init__(self) -> None:
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage._cdata] = storage
        return tensor

    def bytes(self, model: torch.nn.Module) -> int:
        """All but the model's weights, which are kept anyway."""
        weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        return sum(s.nbytes() for key, s in self.storages.items() if key not in weights)
