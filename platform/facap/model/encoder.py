"""A trained FashionBLIP-2 as a function: pictures and texts in, unit vectors out.

>>> encoder = Encoder.load(store.folder("model"))                            # doctest: +SKIP
>>> encoder.queries([picture], ["make it red"]) @ encoder.candidates(pictures).T

The inner product of a query and a candidate is the sum of the n_t cosines divided by n_t.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from facap.model.fashionblip2 import FashionBlip2
from facap.model.preprocess import ImageTransform
from facap.model.saved import load_pretrained
from facap.model.text import Tokens

BATCH = 64  # rows a forward pass; bounds memory, changes no result


class Encoder:
    """Embeds queries (picture, text) and candidates (picture) with one model."""

    def __init__(self, model: FashionBlip2, tokens: Tokens, device: str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.tokens = tokens
        self.device = device
        self.transform = ImageTransform(model.image_px)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Encoder":
        """The model that training saved in `folder`; raises as `load_pretrained` does."""
        return cls(*load_pretrained(folder), device=device)

    @property
    def dim(self) -> int:
        """Length of the vectors, n_t * d_c."""
        return self.model.dim

    @torch.inference_mode()
    def queries(self, images: Sequence[PIL.Image.Image], texts: Sequence[str]) -> np.ndarray:
        """Reference pictures and modification texts, one each -> float32 (B, dim), unit length."""
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} texts; a query is one of each")
        parts = []
        for images_part, texts_part in zip(chunks(images), chunks(texts), strict=True):
            ids, mask = self.tokens(list(texts_part))
            pixels = self._pixels(images_part)
            parts.append(self.model.embed_query(pixels, ids.to(self.device), mask.to(self.device)))
        return to_numpy(parts, self.dim)

    @torch.inference_mode()
    def candidates(self, images: Sequence[PIL.Image.Image]) -> np.ndarray:
        """Catalogue pictures -> float32 (B, dim), unit length."""
        return to_numpy([self.model.embed_candidate(self._pixels(p)) for p in chunks(images)], self.dim)

    def _pixels(self, images: Sequence[PIL.Image.Image]) -> torch.Tensor:
        return torch.stack([self.transform(image) for image in images]).to(self.device)


def chunks(rows: Sequence) -> list[Sequence]:
    """`rows` in runs of at most BATCH."""
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def to_numpy(parts: list[torch.Tensor], dim: int) -> np.ndarray:
    """Batches of vectors as one float32 array of shape (rows, dim)."""
    if not parts:
        return np.zeros((0, dim), np.float32)
    return torch.cat(parts).float().cpu().numpy()
