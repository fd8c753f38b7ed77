"""The model cards of the tiny models: what they are, what they learnt from, how good they were measured."""

from facap.tiny.config import TinyConfig

_WHAT = {
    "tiny-retrieval": (
        "A BLIP-2 image-text retrieval model (`Blip2ForImageTextRetrieval`) for rendered garments, which "
        "FashionBLIP-2 starts from."
    ),
    "tiny-captioner": (
        "A BLIP-2 captioner (`Blip2ForConditionalGeneration`) that describes rendered garments; it shares "
        "its vision encoder with tiny-retrieval, whose Q-Former learnt on. Prompts: `a picture of` for a "
        "caption, `the attributes of` for the same as JSON (json_... below)."
    ),
    "tiny-writer": (
        "A Llama that writes the modification text from two captions, or from two lists of tags. Prompt: "
        "`reference : <caption> target : <caption> <style> :`, the style one of change, instead and want; "
        "tags are `colour navy ; neckline round ; ...`."
    ),
}


def card(name: str, config: TinyConfig, measured: dict[str, dict[str, float]]) -> str:
    """The README.md of one model folder."""
    figures = {**measured.get(name, {})}
    if name != "tiny-writer":
        figures |= {f"attribute {k}": v for k, v in measured["attributes"].items()}
    rows = "\n".join(f"| {key} | {value:.4f} |" for key, value in figures.items())
    steps = ", ".join(f"{k} {v:,}" for k, v in config.model_dump().items() if k.endswith("_steps"))
    return f"""---
license: apache-2.0
---
# {name}

{_WHAT[name]} It knows nothing but the garments that `facap.catalog` draws; it exists so that every stage
of facap runs with real engines on two CPU cores.

- **Data**: {config.pictures:,} pictures drawn at 128 px and {config.sharp_pictures:,} at 256 px, of garments
  sampled at random; a tenth of all possible garments, told by a hash of their attributes, is held out.
- **Command**: `python -m jobs.train_tiny_models --seed {config.seed}`
  ({steps}; batches of {config.batch_size}).
- **Weights**: float16 safetensors, used in float32.

Measured on {config.held_out:,} pictures (or pairs) of held-out garments:

| figure | value |
| --- | --- |
{rows}
"""
