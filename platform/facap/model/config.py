"""Settings of FashionBLIP-2. Defaults are the embedded size; the descriptions name the real one.

>>> FashionBlip2Config(base="Salesforce/blip2-itm-vit-g", adapter_blocks=None, match_dim=256).mixer
'linear'
"""

from typing import Literal

from pydantic import Field

from facap.config import StageConfig


class FashionBlip2Config(StageConfig):
    """What the model is: its base, its adapters and its matching module."""

    base: str = Field(
        "facap/tiny-retrieval",
        description="BLIP-2 retrieval checkpoint: facap/<name>, a folder, or a hub name such as "
        "Salesforce/blip2-itm-vit-g",
    )
    adapter: Literal["bottleneck", "lora"] = Field(
        "bottleneck", description="x + up(act(down(x))) after a sublayer, or LoRA inside of it (peft)"
    )
    adapter_width: int = Field(
        48,
        ge=1,
        description="channels of an adapter's bottleneck, or LoRA's rank (the paper does not say; ours)",
    )
    adapter_activation: Literal["gelu", "relu", "silu"] = Field(
        "gelu", description="between an adapter's two projections"
    )
    adapter_placement: Literal["mlp", "attention", "both"] = Field(
        "mlp", description="which sublayers of a vision block are adapted"
    )
    adapter_blocks: int | None = Field(
        1,
        ge=0,
        description="adapters in the last so many vision blocks; null for all (real size). The blocks "
        "below are frozen, so their output can be computed once per picture",
    )
    matching: Literal[
        "anchored", "multi_head", "mean", "best_token", "combiner", "sum", "text_only", "image_only"
    ] = Field(
        "anchored",
        description="what queries and candidates are compared by: multi_head, the paper's; anchored, ours, "
        "whose queries start at the sum of picture and text; or, to compare, CoVR-2's mean, SPRC's best "
        "token, CLIP4Cir's combiner, its plain sum, one side alone",
    )
    num_match_tokens: int = Field(
        12, ge=1, description="n_t, rows of the matching output (12: a third party's reading of the paper)"
    )
    match_dim: int = Field(
        64, ge=1, description="d_c, channels of a matching row (256 at real size: third party's reading)"
    )
    mixer: Literal["linear", "mlp"] = Field(
        "linear", description="token and channel mixing: one linear map, or one with an added MLP branch"
    )
    max_text_tokens: int = Field(
        64, ge=4, description="texts are cut after so many tokens (FACap's run to 44 words)"
    )
