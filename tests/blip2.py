"""Random BLIP-2 checkpoints of the real architecture, for tests."""

from pathlib import Path

import torch
from transformers import Blip2Config, Blip2ForImageTextRetrieval

from facap.model.config import FashionBlip2Config
from facap.model.tiny import build_tokenizer

TEXTS = ["make it red and shorter", "longer sleeves", "a plain navy one without the collar"]
SMALL_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
VIT_G = {  # of EVA-CLIP's ViT-g/14, which the published checkpoints have, at one of its 39 blocks
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 1,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
}
SMALL_QFORMER = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
BERT_BASE = {"hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 3072}


def random_base(
    vocab_size: int,
    vision: dict[str, int] = SMALL_VISION,
    qformer: dict[str, int] = SMALL_QFORMER,
    num_query_tokens: int = 8,
    dropout: float = 0.0,
) -> Blip2ForImageTextRetrieval:
    """A BLIP-2 whose parameters are random, every one of them different from zero."""
    torch.manual_seed(0)
    config = Blip2Config(
        vision_config=vision,
        qformer_config={
            "vocab_size": vocab_size,
            "encoder_hidden_size": vision["hidden_size"],
            "cross_attention_frequency": 2,
            "max_position_embeddings": 72,
            "use_qformer_text_input": True,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
            **qformer,
        },
        num_query_tokens=num_query_tokens,
        image_text_hidden_size=20,
    )
    model = Blip2ForImageTextRetrieval(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5)
    return model


def save_base(folder: Path, **shape: object) -> Path:
    """A random checkpoint with its tokenizer in `folder`; see random_base for `shape`."""
    tokenizer = build_tokenizer(TEXTS)
    random_base(len(tokenizer), **shape).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)
    return folder


def settings(base_folder: Path, **changes: object) -> FashionBlip2Config:
    """A small model on that checkpoint."""
    return FashionBlip2Config(**{"base": str(base_folder), "match_dim": 16, "num_match_tokens": 6, **changes})  # type: ignore[arg-type]
