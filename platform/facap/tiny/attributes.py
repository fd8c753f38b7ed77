"""Teaches the vision encoder and the Q-Former the attributes themselves, before any words.

Query token i of the Q-Former answers attribute i through a linear head; a second set of heads on
the encoder's class token shortens the way of the gradient. The heads are thrown away afterwards.
"""

import numpy as np
import torch
from torch import nn
from transformers import Blip2ForImageTextRetrieval

from facap.catalog.garments import ATTRIBUTES
from facap.model.preprocess import normalise
from facap.model.tiny import HIDDEN
from facap.tiny.schedule import DTYPE, Trainer

NAMES = tuple(ATTRIBUTES)
_INDEX = {name: {value: i for i, value in enumerate(ATTRIBUTES[name])} for name in NAMES}


def labels(attributes: list[dict[str, str]]) -> torch.Tensor:
    """Attribute values as class indices, N x len(NAMES) int64."""
    return torch.tensor([[_INDEX[name][a[name]] for name in NAMES] for a in attributes])


def shifted(pixels_BHWC: np.ndarray, rng: np.random.Generator, most_px: int = 4) -> np.ndarray:
    """Each picture moved by up to `most_px` and made a little brighter or darker (augmentation)."""
    out = np.empty_like(pixels_BHWC)
    for i, picture in enumerate(pixels_BHWC):
        dy, dx = rng.integers(-most_px, most_px + 1, 2)
        moved = np.pad(picture, ((most_px,) * 2, (most_px,) * 2, (0, 0)), mode="edge")
        side = picture.shape[0]
        moved = moved[most_px + dy : most_px + dy + side, most_px + dx : most_px + dx + side]
        out[i] = np.clip(moved * rng.uniform(0.95, 1.05) + rng.normal(0, 1.5, (side, side, 1)), 0, 255)
    return out


class AttributeHeads(nn.Module):
    """A retrieval BLIP-2 with one linear head per attribute on its query outputs."""

    def __init__(self, base: Blip2ForImageTextRetrieval) -> None:
        super().__init__()
        self.vision, self.qformer, self.query_tokens = base.vision_model, base.qformer, base.query_tokens
        sizes = [len(ATTRIBUTES[name]) for name in NAMES]
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, n) for n in sizes)
        self.shortcuts = nn.ModuleList(nn.Linear(HIDDEN, n) for n in sizes)

    def forward(self, pixels_BCHW: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Logits of every attribute: from its query token, and from the class token."""
        image_BND = self.vision(pixel_values=pixels_BCHW).last_hidden_state
        queries_BQD = self.qformer(
            query_embeds=self.query_tokens.expand(len(image_BND), -1, -1),
            query_length=self.query_tokens.shape[1],
            encoder_hidden_states=image_BND,
        ).last_hidden_state
        mine = [head(queries_BQD[:, i]) for i, head in enumerate(self.heads)]
        return mine, [head(image_BND[:, 0]) for head in self.shortcuts]


def train(
    model: AttributeHeads, pixels: np.ndarray, truth: torch.Tensor, steps: int, batch_size: int, seed: int
) -> None:
    """Trains in place on uint8 pictures N x 128 x 128 x 3 and their labels, N x attributes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trainer = Trainer("attributes", model, steps)
    model.train()
    order = np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < batch_size:
            order = rng.permutation(len(pixels))
        rows, order = order[:batch_size], order[batch_size:]
        mine, shortcut = model(normalise(shifted(pixels[rows], rng)).to(DTYPE))
        loss = torch.zeros(())
        for i in range(len(NAMES)):
            target = truth[rows, i]
            loss = loss + nn.functional.cross_entropy(mine[i].float(), target)
            loss = loss + 0.5 * nn.functional.cross_entropy(shortcut[i].float(), target)
        trainer.update(loss / len(NAMES))
    trainer.finish()


@torch.inference_mode()
def accuracy(model: AttributeHeads, pixels: np.ndarray, truth: torch.Tensor) -> dict[str, float]:
    """Share of held-out pictures whose attribute the query token's head gets right, by attribute."""
    right = torch.zeros(len(NAMES))
    for start in range(0, len(pixels), 100):
        mine, _ = model(normalise(pixels[start : start + 100]))
        for i, logits in enumerate(mine):
            right[i] += (logits.argmax(-1) == truth[start : start + 100, i]).sum()
    return {name: round(float(right[i]) / len(pixels), 4) for i, name in enumerate(NAMES)}
