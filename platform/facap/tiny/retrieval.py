"""Trains the retrieval model's text side by BLIP-2's contrastive and matching losses.

The vision encoder is frozen: its outputs are computed once. The Q-Former goes on naming attributes
from the picture while its text side learns to meet the pictures that a text is true of, and while its query
tokens, with picture and text before them, learn to tell whether the two belong together. As the truth
is known, every picture that a text describes is a positive, not only the one it was written for.
"""

import random

import numpy as np
import torch
from torch import nn
from transformers import Blip2ForImageTextRetrieval, PreTrainedTokenizerFast

from facap.catalog.garments import Garment, sample_variant
from facap.catalog.wording import caption
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


def matches(
    model: Blip2ForImageTextRetrieval,
    tokenizer: PreTrainedTokenizerFast,
    features_BKD: torch.Tensor,
    texts: list[str],
) -> torch.Tensor:
    """Logits of "it does not belong to the picture" and "it does" of each text and picture: B x 2."""
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=64)
    tokens = model.query_tokens.expand(len(texts), -1, -1)
    seen = inputs["attention_mask"].new_ones(tokens.shape[:2])
    hidden = model.qformer(
        query_embeds=model.embeddings(input_ids=inputs["input_ids"], query_embeds=tokens),
        query_length=tokens.shape[1],
        attention_mask=torch.cat([seen, inputs["attention_mask"]], 1),
        encoder_hidden_states=features_BKD,
    ).last_hidden_state
    return model.itm_head(hidden[:, : tokens.shape[1]]).float().mean(1)


def hard_negatives(scores_TI: torch.Tensor, positive_TI: torch.Tensor) -> torch.Tensor:
    """For each row a column that is no positive, drawn by its score; rows without any are left out: N x 2."""
    chances = scores_TI.detach().masked_fill(positive_TI, -torch.inf).softmax(-1)
    rows = torch.nonzero(~positive_TI.all(1)).flatten()
    return torch.stack([rows, torch.multinomial(chances[rows], 1)[:, 0]], 1)


def matching_loss(
    model: Blip2ForImageTextRetrieval,
    tokenizer: PreTrainedTokenizerFast,
    features_BKD: torch.Tensor,
    texts: list[str],
    scores_TI: torch.Tensor,
    positive_TI: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy of texts with their own picture, half of them with a wrong one, half of pictures so."""
    size = len(texts)
    wrong_picture = hard_negatives(scores_TI, positive_TI)[: size // 2]
    wrong_text = hard_negatives(scores_TI.T, positive_TI.T)[-(size // 2) :].flip(1)
    own = torch.arange(size)[:, None].expand(-1, 2)
    pairs = torch.cat([own, wrong_picture, wrong_text])
    logits = matches(model, tokenizer, features_BKD[pairs[:, 1]], [texts[i] for i in pairs[:, 0].tolist()])
    belongs = torch.zeros(len(pairs), dtype=torch.long)
    belongs[:size] = 1
    return nn.functional.cross_entropy(logits, belongs)


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
    scale: float = 1.0,
) -> None:
    """Trains `model` in place; `heads` shares its Q-Former and keeps it naming attributes."""
    torch.manual_seed(seed)
    rng, order = random.Random(seed), np.random.default_rng(seed)
    model.vision_model.requires_grad_(False)
    both = nn.ModuleDict({"retrieval": model, "heads": heads.heads})
    trainer = Trainer("retrieval", both, steps, scale / 2)
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
        positive_TI = positives(chosen, list(described))
        loss = contrastive(scores_TI, positive_TI)
        loss = loss + matching_loss(model, tokenizer, features_NKD[rows], list(texts), scores_TI, positive_TI)
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


@torch.inference_mode()
def told_apart(
    model: Blip2ForImageTextRetrieval,
    tokenizer: PreTrainedTokenizerFast,
    pixels: np.ndarray,
    garments: list[Garment],
    seed: int = 0,
) -> float:
    """Share of pictures with which their caption matches better than that of a variant of the garment."""
    rng = random.Random(seed)
    features = image_features(model, pixels).float()
    margins = []
    for start in range(0, len(garments), 100):
        some = garments[start : start + 100]
        mine, other = (
            matches(model, tokenizer, features[start : start + 100], texts).diff(dim=1)[:, 0]
            for texts in (
                [caption(garment) for garment in some],
                [caption(sample_variant(rng, garment)) for garment in some],
            )
        )
        margins.append(mine > other)
    return float(torch.cat(margins).float().mean())
