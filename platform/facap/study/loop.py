"""A plain PyTorch loop over a workspace's triplets: the trainer's model, states, batches, loss and optimiser.

>>> loop = Loop(store, TrainConfig())                                    # doctest: +SKIP
>>> loop.run(steps=30)                                                   # seconds of each step
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from facap.model.fashionblip2 import FashionBlip2
from facap.model.preprocess import decode, normalise, square
from facap.model.text import Tokens
from facap.store import Store
from facap.train.config import TrainConfig
from facap.train.feed import epoch_batches, split_rows
from facap.train.setup import build_optimizer, set_rates, starting_model
from facap.train.step import train_step


@dataclass(frozen=True)
class Held:
    """All pictures of a workspace, as a rank holds them: the frozen trunk's outputs, images x tokens x width.

    A numpy array, so that Ray's workers on a machine share one copy of it.
    """

    states: np.ndarray
    position: dict[str, int]  # image_id -> which of them
    cached = True

    @classmethod
    def of(cls, store: Store, model: FashionBlip2) -> "Held":
        """The pictures of `store` through the trunk of `model`."""
        rows = store.read("images", ["image_id", "bytes"]).sort_by("image_id").to_pylist()
        parts = []
        with torch.no_grad():
            for start in range(0, len(rows), 64):
                pictures = [square(decode(row["bytes"]), model.image_px) for row in rows[start : start + 64]]
                parts.append(model.trunk(normalise(np.stack([np.asarray(p) for p in pictures]))).numpy())
        return cls(np.concatenate(parts), {row["image_id"]: place for place, row in enumerate(rows)})

    def inputs(self, positions: list[int]) -> torch.Tensor:
        """The states of these pictures."""
        return torch.from_numpy(self.states[positions])


class Loop:
    """The plain loop: one process, two threads, nothing but steps."""

    def __init__(
        self, store: Store, config: TrainConfig, pictures: Held | None = None, threads: int = 2
    ) -> None:
        """`pictures` of another loop with this base and first adapted block: states are the same."""
        torch.set_num_threads(threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.model = starting_model(config).train()
        self.tokens = Tokens.load(config.model.base, config.model.max_text_tokens)
        self.pictures: Any = pictures or Held.of(store, self.model)
        self.rows: pa.Table = split_rows(store, "train")

    def run(self, steps: int, precision: str = "fp32") -> list[float]:
        """Seconds of each step."""
        config = self.config.model_copy(update={"precision": precision})
        optimizer = build_optimizer(self.model, config)
        seconds = []
        for number, batch in zip(range(steps), self._batches(), strict=False):
            began = time.perf_counter()
            set_rates(optimizer, config, number, steps)
            train_step(self.model, optimizer, batch, self.pictures, self.tokens, config, torch.device("cpu"))
            seconds.append(time.perf_counter() - began)
        return seconds

    def _batches(self) -> Iterator[dict[str, list[Any]]]:
        for epoch in itertools.count():
            yield from epoch_batches(self.rows, self.config.batch_size, 0, 1, [self.config.seed, epoch])
