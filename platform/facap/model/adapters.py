"""Adapters: x + up(act(down(x))), the only trainable part of the frozen image encoder.

They sit on the output of a vision block's MLP, attention or both, before the residual sum. `up`
starts at zero, so a fresh adapter is the identity and training starts at BLIP-2 itself.

    >>> insert_adapters(vision_model, 64, "gelu", placement="mlp", blocks=2)  # doctest: +SKIP
    4

Shapes: B images, N patches + 1, D channels of the encoder.
"""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN


class Adapter(nn.Module):
    """x_BND -> x + up(act(down(x))), same shape; the identity when fresh."""

    def __init__(self, channels: int, width: int, activation: str) -> None:
        super().__init__()
        self.down = nn.Linear(channels, width)
        self.act = ACT2FN[activation]
        self.up = nn.Linear(width, channels)
        nn.init.normal_(self.down.weight, std=channels**-0.5)
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        return x_BND + self.up(self.act(self.down(x_BND)))


class Adapted(nn.Module):
    """A sublayer of a vision block with an adapter on its output; attention's weights pass through."""

    def __init__(self, sublayer: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.sublayer, self.adapter = sublayer, adapter

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.sublayer(*args, **kwargs)
        if isinstance(output, tuple):
            return self.adapter(output[0]), *output[1:]
        return self.adapter(output)


def insert_adapters(
    vision_model: Any, width: int, activation: str, placement: str, blocks: int | None
) -> int:
    """Puts adapters into the last `blocks` blocks (None: all); returns the first adapted block's index."""
    layers = vision_model.encoder.layers
    first = 0 if blocks is None else max(0, len(layers) - blocks)
    names = {"mlp": ["mlp"], "attention": ["self_attn"], "both": ["self_attn", "mlp"]}[placement]
    for layer in layers[first:]:
        for name in names:
            adapter = Adapter(vision_model.config.hidden_size, width, activation)
            setattr(layer, name, Adapted(getattr(layer, name), adapter))
    return first
