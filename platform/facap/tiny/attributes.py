"""Teaches the vision encoder and the Q-Former the attributes themselves, before any words.

Query token i of the Q-Former answers attribute i through a linear head; a second set of heads on
the encoder's class token shortens the way of the gradient. A third one tells of each patch which closure and
which detail is there, if any: one label a picture left a tenth of the details wrong (docs/log.md). The heads
are thrown away afterwards.
"""

import numpy as np
import torch
from torch import nn
from transformers import Blip2ForImageTextRetrieval

from facap.catalog.garments import ATTRIBUTES
from facap.model.preprocess import normalise
from facap.model.tiny import HIDDEN
from facap.tiny.pictures import PARTS, Drawn
from facap.tiny.schedule import DTYPE, Trainer

NAMES = tuple(ATTRIBUTES)
Answers = tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]
EMPTY_WEIGHT = 0.2  # of a patch without the part; nine of ten are such
_INDEX = {name: {value: i for i, value in enumerate(ATTRIBUTES[name])} for name in NAMES}


def labels(attributes: list[dict[str, str]]) -> torch.Tensor:
    """Attribute values as class indices, N x len(NAMES) int64."""
    return torch.tensor([[_INDEX[name][a[name]] for name in NAMES] for a in attributes])


def truth_of(drawn: Drawn) -> torch.Tensor:
    """The labels of drawn garments, N x len(NAMES)."""
    return labels([garment.attributes() for garment in drawn.garments])


def place_labels(drawn: Drawn) -> torch.Tensor:
    """Which value of each of PARTS is in each patch, N x len(PARTS) x GRID x GRID int64; NONE is 0."""
    values = truth_of(drawn)[:, [NAMES.index(p) for p in PARTS]]
    return torch.from_numpy(drawn.places) * values[:, :, None, None]


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
        self.places = nn.ModuleList(nn.Linear(HIDDEN, len(ATTRIBUTES[name])) for name in PARTS)

    def forward(self, pixels_BCHW: torch.Tensor) -> Answers:
        """The answers to pictures."""
        return self.answers(*self.outputs(pixels_BCHW))

    def outputs(self, pixels_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder and the Q-Former make of pictures: B x tokens x D and B x queries x D."""
        image_BND = self.vision(pixel_values=pixels_BCHW).last_hidden_state
        queries_BQD = self.qformer(
            query_embeds=self.query_tokens.expand(len(image_BND), -1, -1),
            query_length=self.query_tokens.shape[1],
            encoder_hidden_states=image_BND,
        ).last_hidden_state
        return image_BND, queries_BQD

    def answers(self, image_BND: torch.Tensor, queries_BQD: torch.Tensor) -> Answers:
        """Logits of every attribute, from query tokens and from the class token; of PARTS, from patches."""
        mine = [head(queries_BQD[:, i]) for i, head in enumerate(self.heads)]
        placed = [head(image_BND[:, 1:]) for head in self.places]
        return mine, [head(image_BND[:, 0]) for head in self.shortcuts], placed


def train(
    model: AttributeHeads, drawn: Drawn, steps: int, batch_size: int, seed: int, scale: float = 1.0
) -> None:
    """Trains in place on pictures, their attributes and places, each batch mirrored half of the time.

    After a first round over all, half of what is seen is drawn at random and half by the loss it had last.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trainer = Trainer("attributes", model, steps, scale)
    model.train()
    truth, placed = truth_of(drawn), place_labels(drawn)
    last_N = np.zeros(len(drawn.pixels))
    order = rng.permutation(len(drawn.pixels))
    for _ in range(steps):
        if len(order) < batch_size:
            chances = 1 + last_N / max(1e-9, last_N.mean())
            order = rng.choice(len(last_N), len(last_N), p=chances / chances.sum())
        rows, order = order[:batch_size], order[batch_size:]
        pixels, places = drawn.pixels[rows], placed[rows]
        if rng.random() < 0.5:
            pixels, places = pixels[:, :, ::-1], places.flip(-1)
        logits = model(normalise(shifted(pixels, rng)).to(DTYPE))
        losses_B = _losses(logits, truth[rows], places)
        last_N[rows] = losses_B.detach().numpy()
        trainer.update(losses_B.mean())
    trainer.finish()


def _losses(logits: Answers, truth_BA: torch.Tensor, places_BPHW: torch.Tensor) -> torch.Tensor:
    """Of each picture, the mean over the attributes; the class token's count half."""
    cross_entropy = nn.functional.cross_entropy
    mine, shortcut, placed = logits
    losses_B = torch.zeros(len(truth_BA))
    for i in range(len(NAMES)):
        for answers, share in ((mine, 1.0), (shortcut, 0.5)):
            losses_B = losses_B + share * cross_entropy(answers[i].float(), truth_BA[:, i], reduction="none")
    for i, patches_BND in enumerate(placed):
        where_BN = places_BPHW[:, i].flatten(1)
        weight_BN = torch.where(where_BN == 0, EMPTY_WEIGHT, 1.0)
        each_BN = cross_entropy(patches_BND.float().transpose(1, 2), where_BN, reduction="none")
        losses_B = losses_B + (each_BN * weight_BN).sum(1) / weight_BN.sum(1)
    return losses_B / len(NAMES)


def fit_heads(model: AttributeHeads, drawn: Drawn, seed: int, pictures: int = 3000, steps: int = 150) -> None:
    """Fresh heads for an encoder that has learnt: fitted alone, so that their errors do not disturb it."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        parts = [
            model.outputs(normalise(drawn.pixels[i : i + 100]))
            for i in range(0, min(pictures, len(drawn.pixels)), 100)
        ]
    image_ND, queries_NQD = (torch.cat(outputs) for outputs in zip(*parts, strict=True))
    truth, placed = truth_of(drawn), place_labels(drawn)
    fresh = nn.ModuleList([model.heads, model.shortcuts, model.places])
    optimizer = torch.optim.Adam(fresh.parameters(), lr=1e-2)
    for _ in range(steps):
        rows = rng.integers(0, len(image_ND), 500)
        loss = _losses(model.answers(image_ND[rows], queries_NQD[rows]), truth[rows], placed[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def accuracy(model: AttributeHeads, drawn: Drawn) -> dict[str, float]:
    """Share of pictures whose attribute the query token's head gets right, by attribute."""
    truth, right = truth_of(drawn), torch.zeros(len(NAMES))
    for start in range(0, len(truth), 100):
        mine, _, _ = model(normalise(drawn.pixels[start : start + 100]))
        for i, logits in enumerate(mine):
            right[i] += (logits.argmax(-1) == truth[start : start + 100, i]).sum()
    return {name: round(float(right[i]) / len(truth), 4) for i, name in enumerate(NAMES)}
