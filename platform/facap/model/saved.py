"""A trained FashionBLIP-2 on disk: what was trained, and the name and hash of the base it needs.

config.json          {"format": 1, "base": ..., "base_hash": ..., "model": {settings}}; written last
model.safetensors    adapters, Q-Former, query tokens, text embeddings, matching, temperature
preprocessing.json   image_px, max_text_tokens and the image statistics it was trained with
tokenizer files      those of the base

>>> save_pretrained(model, tokens, "/tmp/model")                         # doctest: +SKIP
>>> model, tokens = load_pretrained("/tmp/model")
>>> save_merged(model, tokens, "/tmp/whole")      # with the frozen encoder too: needs no base to be opened
>>> model, tokens = from_pretrained("Salesforce/blip2-itm-vit-g", adapter_blocks=None, match_dim=256)
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from facap.errors import ConfigError, FacapError, ModelMissing
from facap.model.adapters import folded
from facap.model.checkpoints import content as content_of
from facap.model.config import FashionBlip2Config
from facap.model.fashionblip2 import FashionBlip2
from facap.model.preprocess import MEAN, STD, TARGET_RATIO
from facap.model.text import Tokens

FORMAT = 1
CONFIG, WEIGHTS, PREPROCESSING = "config.json", "model.safetensors", "preprocessing.json"


def _preprocessing(image_px: int, max_text_tokens: int) -> dict[str, Any]:
    return {
        "image_px": image_px,
        "target_ratio": TARGET_RATIO,
        "mean": list(MEAN),
        "std": list(STD),
        "resample": "bicubic",
        "max_text_tokens": max_text_tokens,
    }


def save_pretrained(
    model: FashionBlip2, tokens: Tokens, folder: str | Path, state: dict[str, torch.Tensor] | None = None
) -> list[str]:
    """Writes the model to `folder`; returns its files' names, config.json last.

    `state`: the trained tensors by name if `model` is sharded and its own are only pieces.
    """
    state = model.trained() if state is None else state
    base = {"base": model.config.base, "base_hash": content_of(model.config.base)}
    return _save(state, model.config, model.image_px, tokens, base, Path(folder))


def save_merged(model: FashionBlip2, tokens: Tokens, folder: str | Path) -> list[str]:
    """Writes all weights of the model to `folder`, which then needs no base; returns its files' names.

    LoRA is added to the weights that it adapts, so that it costs nothing more; an adapter with an activation
    cannot be, and stays.
    """
    config = model.config
    if config.adapter == "lora":
        config = config.model_copy(update={"adapter_blocks": 0})
    base = {"base": config.base, "architecture": model.architecture.to_dict()}
    return _save(folded(model), config, model.image_px, tokens, base, Path(folder))


def _save(
    state: dict[str, torch.Tensor],
    config: FashionBlip2Config,
    image_px: int,
    tokens: Tokens,
    base: dict[str, Any],
    path: Path,
) -> list[str]:
    path.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().float().cpu().contiguous() for name, tensor in state.items()}, path / WEIGHTS
    )
    tokens.tokenizer.save_pretrained(str(path))
    (path / PREPROCESSING).write_text(json.dumps(_preprocessing(image_px, config.max_text_tokens), indent=1))
    content = {"format": FORMAT, **base, "model": config.model_dump(mode="json")}
    (path / CONFIG).write_text(json.dumps(content, indent=1))
    return [*sorted(f.name for f in path.iterdir() if f.is_file() and f.name != CONFIG), CONFIG]


def settings_of(folder: str | Path) -> FashionBlip2Config:
    """The settings of the trained model in `folder`; ModelMissing if there is none."""
    try:
        return FashionBlip2Config.model_validate(json.loads((Path(folder) / CONFIG).read_text())["model"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelMissing(
            f"'{folder}' is not a complete FashionBLIP-2 folder ({error!r}); run the training job again"
        ) from error


def load_pretrained(folder: str | Path) -> tuple[FashionBlip2, Tokens]:
    """The model in `folder`, in evaluation mode, and its tokenizer.

    Raises ModelMissing if files are missing, FacapError if the base is not the one trained on.
    """
    path = Path(folder)
    try:
        content = json.loads((path / CONFIG).read_text())
        preprocessing = json.loads((path / PREPROCESSING).read_text())
        state = load_file(path / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelMissing(
            f"'{folder}' is not a complete FashionBLIP-2 folder ({error}); run the training job again"
        ) from error
    if content.get("format") != FORMAT:
        raise ModelMissing(
            f"'{folder}' has format {content.get('format')}, this version reads {FORMAT}; train again"
        )
    config = FashionBlip2Config.model_validate(content["model"])
    if "architecture" in content:
        model = _without_base(content["architecture"], config)
        wanted = dict(model.state_dict())
    else:
        found = content_of(config.base)
        if found != content["base_hash"]:
            raise FacapError(
                f"'{folder}' was trained on base '{config.base}' with weights {content['base_hash']}, but "
                f"that base now has weights {found}; bring the old base back or train again"
            )
        model = FashionBlip2.from_base(config)
        wanted = model.trained()
    if preprocessing != _preprocessing(model.image_px, config.max_text_tokens):
        raise FacapError(
            f"'{folder}' was trained with other preprocessing than this version's: "
            f"{preprocessing}; train again"
        )
    if set(state) != set(wanted) or any(state[n].shape != t.shape for n, t in wanted.items()):
        wrong = sorted(set(state) ^ set(wanted)) or [n for n in wanted if state[n].shape != wanted[n].shape]
        raise FacapError(f"'{folder}': tensor '{wrong[0]}' does not fit its config.json; train again")
    model.load_state_dict(state, strict=False)
    return model.eval(), Tokens.load(str(path.resolve()), config.max_text_tokens)


def _without_base(architecture: dict[str, Any], config: FashionBlip2Config) -> FashionBlip2:
    """A model of this architecture whose weights are still to come."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval

    return FashionBlip2(Blip2ForImageTextRetrieval(Blip2Config.from_dict(architecture)).float(), config)


def from_pretrained(name: str, **settings: Any) -> tuple[FashionBlip2, Tokens]:
    """A trained FashionBLIP-2 from its folder, or a fresh one on a BLIP-2 checkpoint; and its tokenizer.

    `name` is a folder, facap/<name> or a hub name; `settings`, those of FashionBlip2Config, are for a fresh
    one.
    Raises ModelMissing if it cannot be loaded, ConfigError if settings are given for a trained model.
    """
    file = Path(name).expanduser() / CONFIG
    if file.is_file() and (file.parent / PREPROCESSING).is_file():
        if settings:
            raise ConfigError(f"'{name}' is a trained FashionBLIP-2 and has its settings; give no others")
        return load_pretrained(file.parent)
    config = FashionBlip2Config(base=name, **settings)
    return FashionBlip2.from_base(config).eval(), Tokens.load(name, config.max_text_tokens)
