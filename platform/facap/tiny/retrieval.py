"""Trains the retrieval model's text side and aligns it with the image side by BLIP-2's contrastive loss.

The vision encoder is frozen: its outputs are computed once. The Q-Former goes on naming attributes
from the picture while its text side learns to meet the pictures that a text is true of. As the truth
is known, every picture that a text describes is a positive, not only the one it was written for.
"""

import random

import numpy as np
import torch
from torch import nn
from transformers import Blip2ForImageTextRetrieval, PreTrainedTokenizerFast

from facap.catalog.garments import Garment
from facap.model.preprocess import normalise
from facap.tiny.attributes import NAMES, AttributeHeads
from facap.tiny.phrases import describe
from facap.tiny.schedule import DTYPE, Trainer

TEMPERATURE = 0.07


@torch.inference_mode()
def image_features(model: Blip2ForImageTextRetrieval, pixels: np.ndarray) -> torch.Tensor:
    """Outputs of the frozen vision encoder, N x tokens x width, in DTYPE."""
    model.vision_model.to(DTYPE)
    parts = [
        model.vision_model(pixel_values=normalise(pixels[i : i + 128]).to(DTYPE)).last_hidden_state
        for i in range(0, len(pixels), 128)
    ]
    model.vision_model.float()
    return torch.cat(parts)


def image_vectors(model: Blip2ForImageTextRetrieval, queries_BQD: torch.Tensor) -> torch.Tensor:
    """The mean of the projected, normalised query outputs, normalised again: B x dim."""
    projected = nn.functional.normalize(model.vision_projection(queries_BQD), dim=-1)
    return nn.functional.normalize(projected.mean(1), dim=-1)


def text_vectors(
    model: Blip2ForImageTextRetrieval, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> torch.Tensor:
    """The projected, normalised [CLS] outputs: B x dim."""
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=64)
    embedded = model.embeddings(input_ids=inputs["input_ids"])
    hidden = model.qformer(
        query_embeds=embedded, query_length=0, attention_mask=inputs["attention_mask"]
    ).last_hidden_state
    return nn.functional.normalize(model.text_projection(hidden[:, 0]), dim=-1)


def positives(garments: list[Garment], described: list[tuple[str, ...]]) -> torch.Tensor:
    """B x B: whether text i is true of garment j."""
    values = [garment.attributes() for garment in garments]
    rows = [
        [all(values[i][name] == other[name] for name in names) for other in values]
        for i, names in enumerate(described)
    ]
    return torch.tensor(rows)


def contrastive(scores_TI: torch.Tensor, positive_TI: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy where each row's and column's positives share the probability."""

    def one_way(scores: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
        target = positive.float() / positive.sum(1, keepdim=True)
        return -(target * nn.functional.log_softmax(scores, -1)).sum(1).mean()

    return (one_way(scores_TI, positive_TI) + one_way(scores_TI.T, positive_TI.T)) / 2


def train(
    model: Blip2ForImageTextRetrieval,
    heads: AttributeHeads,
    tokenizer: PreTrainedTokenizerFast,
    features_NKD: torch.Tensor,
    garments: list[Garment],
    labels: torch.Tensor,
    steps: int,
    batch_size: int,
    seed: int,
) -> None:
    """Trains `model` in place; `heads` shares its Q-Former and keeps it naming attributes."""
    torch.manual_seed(seed)
    rng, order = random.Random(seed), np.random.default_rng(seed)
    model.vision_model.requires_grad_(False)
    both = nn.ModuleDict({"retrieval": model, "heads": heads.heads})
    trainer = Trainer("retrieval", both, steps, scale=0.5)
    model.train()
    for _ in range(steps):
        rows = order.integers(0, len(features_NKD), batch_size)
        chosen = [garments[i] for i in rows]
        texts, described = zip(*(describe(garment, rng) for garment in chosen), strict=True)
        queries_BQD = model.qformer(
            query_embeds=model.query_tokens.expand(batch_size, -1, -1),
            query_length=model.query_tokens.shape[1],
            encoder_hidden_states=features_NKD[rows],
        ).last_hidden_state
        images = image_vectors(model, queries_BQD).float()
        scores_TI = text_vectors(model, tokenizer, list(texts)).float() @ images.T / TEMPERATURE
        loss = contrastive(scores_TI, positives(chosen, list(described)))
        for i in range(len(NAMES)):
            logits = heads.heads[i](queries_BQD[:, i]).float()
            loss = loss + nn.functional.cross_entropy(logits, labels[rows, i]) / len(NAMES)
        trainer.update(loss)
    trainer.finish()
    model.vision_model.requires_grad_(True)


@torch.inference_mode()
def recall_at_10(
    model: Blip2ForImageTextRetrieval,
    tokenizer: PreTrainedTokenizerFast,
    pixels: np.ndarray,
    texts: list[str],
) -> float:
    """Share of captions whose own picture is among the ten best of all `pixels`."""
    features = image_features(model, pixels).float()
    queries = torch.cat(
        [
            model.qformer(
                query_embeds=model.query_tokens.expand(len(part), -1, -1),
                query_length=model.query_tokens.shape[1],
                encoder_hidden_states=part,
            ).last_hidden_state
            for part in features.split(100)
        ]
    )
    scores = text_vectors(model, tokenizer, texts) @ image_vectors(model, queries).T
    best = scores.topk(10, dim=1).indices
    return float((best == torch.arange(len(texts))[:, None]).any(1).float().mean())
