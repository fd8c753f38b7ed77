"""What FashionBLIP-2 has to beat: BLIP-2's own contrastive space, untrained, with the Encoder's interface.

A candidate is the normalised mean of the normalised projected query outputs of its image. A query is
that of the reference ("image_only"), the projected [CLS] of the modification text ("text_only"), or
the normalised sum of both ("sum").

    >>> Baseline.load("facap/tiny-retrieval", "sum").queries([picture], ["make it red"])  # doctest: +SKIP
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image
import torch
from torch.nn.functional import normalize

from facap.errors import ConfigError
from facap.model.encoder import chunks, to_numpy
from facap.model.fashionblip2 import load_base
from facap.model.preprocess import MAX_TEXT_TOKENS, ImageTransform
from facap.model.text import Tokens

Mode = Literal["image_only", "text_only", "sum"]
MODES: tuple[Mode, ...] = get_args(Mode)


def compose(mode: Mode, image_BD: np.ndarray, text_BD: np.ndarray) -> np.ndarray:
    """The queries of a baseline from the unit vectors of their pictures and texts."""
    if mode == "image_only":
        return image_BD
    if mode == "text_only":
        return text_BD
    both_BD = image_BD + text_BD
    return both_BD / np.linalg.norm(both_BD, axis=1, keepdims=True)


class Baseline:
    """A base checkpoint's contrastive space as an encoder of queries and candidates."""

    def __init__(self, base: Any, tokens: Tokens, mode: Mode) -> None:
        if mode not in MODES:
            raise ConfigError(f"baseline '{mode}' is not known; choose one of {', '.join(MODES)}")
        self.base, self.tokens, self.mode = base.eval(), tokens, mode
        self.transform = ImageTransform(base.config.vision_config.image_size)

    @classmethod
    def load(cls, base: str, mode: Mode) -> "Baseline":
        """The baseline `mode` on a base checkpoint; ModelMissing if that cannot be loaded."""
        return cls(load_base(base), Tokens.load(base, MAX_TEXT_TOKENS), mode)

    @property
    def dim(self) -> int:
        """Length of the vectors: the checkpoint's image_text_hidden_size."""
        return int(self.base.config.image_text_hidden_size)

    def queries(self, images: Sequence[PIL.Image.Image], texts: Sequence[str]) -> np.ndarray:
        """Reference pictures and texts, one each -> float32 (B, dim), unit length."""
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} texts; a query is one of each")
        if self.mode == "image_only":
            return self.candidates(images)
        text = self.texts(texts)
        return text if self.mode == "text_only" else compose(self.mode, self.candidates(images), text)

    @torch.inference_mode()
    def candidates(self, images: Sequence[PIL.Image.Image]) -> np.ndarray:
        """Catalogue pictures -> float32 (B, dim), unit length."""
        return to_numpy([self._image(part) for part in chunks(images)], self.dim)

    def _image(self, images: Sequence[PIL.Image.Image]) -> torch.Tensor:
        pixels = torch.stack([self.transform(image) for image in images])
        states = self.base.vision_model(pixel_values=pixels).last_hidden_state
        tokens = self.base.query_tokens.expand(len(images), -1, -1)
        output = self.base.qformer(query_embeds=tokens, encoder_hidden_states=states).last_hidden_state
        return normalize(normalize(self.base.vision_projection(output), dim=-1).mean(dim=1), dim=-1)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 (B, dim), unit length."""
        parts = []
        for part in chunks(texts):
            ids, mask = self.tokens(list(part))
            embeds = self.base.embeddings(input_ids=ids)
            output = self.base.qformer(query_embeds=embeds, query_length=0, attention_mask=mask)
            parts.append(normalize(self.base.text_projection(output.last_hidden_state[:, 0]), dim=-1))
        return to_numpy(parts, self.dim)
