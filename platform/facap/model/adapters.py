"""Adapters: x + up(act(down(x))), the only trainable part of the frozen image encoder.

They sit on the output of a vision block's MLP, attention or both, before the residual sum. `up`
starts at zero, so a fresh adapter is the identity and training starts at BLIP-2 itself. LoRA is the
alternative in the same places: peft's, inside the sublayer's linear maps, at scale 1.

    >>> insert_adapters(vision_model, config)                                 # doctest: +SKIP
    4

Shapes: B images, N patches + 1, D channels of the encoder.
"""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from facap.model.config import FashionBlip2Config

# The linear maps of a vision block's sublayers, which LoRA goes into.
LINEAR = {"self_attn": ("qkv", "projection"), "mlp": ("fc1", "fc2")}


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


def insert_adapters(vision_model: Any, config: FashionBlip2Config) -> int:
    """Puts adapters into the last `adapter_blocks` blocks (None: all); returns the first one's index."""
    layers = vision_model.encoder.layers
    first = 0 if config.adapter_blocks is None else max(0, len(layers) - config.adapter_blocks)
    names = {"mlp": ["mlp"], "attention": ["self_attn"], "both": ["self_attn", "mlp"]}
    chosen = names[config.adapter_placement]
    if config.adapter == "lora":
        places = [
            f"layers.{i}.{name}.{linear}"
            for i in range(first, len(layers))
            for name in chosen
            for linear in LINEAR[name]
        ]
        if places:
            _insert_lora(vision_model.encoder, places, config.adapter_width)
        return first
    for layer in layers[first:]:
        for name in chosen:
            width, activation = config.adapter_width, config.adapter_activation
            adapter = Adapter(vision_model.config.hidden_size, width, activation)
            setattr(layer, name, Adapted(getattr(layer, name), adapter))
    return first


def _insert_lora(encoder: nn.Module, places: list[str], rank: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    # alpha = rank makes the scale 1; dropout would act in an encoder that is kept in evaluation mode.
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=places, bias="none"), encoder
    )


def folded(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state of `model` with LoRA added to the weights that it adapts, under the names without LoRA."""
    from peft.tuners.lora import Linear

    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            for key in [key for key in state if key.startswith(f"{name}.")]:
                tensor = state.pop(key)
                if ".base_layer." in key:
                    state[key.replace(".base_layer.", ".")] = tensor
            delta = module.get_delta_weight("default")
            state[f"{name}.weight"] = state[f"{name}.weight"] + delta
    return state


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter of either kind."""
    return ".adapter." in name or ".lora_" in name
