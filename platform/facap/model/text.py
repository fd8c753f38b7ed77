"""Modification texts -> token ids, the same in training, indexing and serving.

>>> Tokens.load("facap/tiny-retrieval", max_tokens=64)(["a red dress", "longer"])   # doctest: +SKIP
(input_ids_BL, attention_mask_BL)
"""

from dataclasses import dataclass
from typing import Any

import torch

from facap.errors import ModelMissing
from facap.model.checkpoints import resolve
from facap.model.preprocess import clean_text


@dataclass(frozen=True)
class Tokens:
    """Texts -> (input ids, attention mask), int64 B x L, padded to the longest and cut at `max_tokens`."""

    tokenizer: Any
    max_tokens: int

    @classmethod
    def load(cls, base: str, max_tokens: int) -> "Tokens":
        """The tokenizer in a model's folder; ModelMissing if there is none."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(resolve(base))
        except (OSError, ValueError) as error:
            raise ModelMissing(
                f"model '{base}' has no tokenizer that loads ({error}); give a complete checkpoint"
            ) from error
        return cls(tokenizer, max_tokens)

    def __call__(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self.tokenizer(
            [clean_text(text) for text in texts],
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        return batch["input_ids"], batch["attention_mask"]
