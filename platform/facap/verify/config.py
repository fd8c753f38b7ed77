"""Settings of verification (TRIPLETS + what a VLM says of the pictures + the trained model -> VERDICTS).

The VLM's settings are those of the caption stage, and jobs take them from there unless they are given here:

    >>> VerifyConfig().ask, VerifyConfig().model
    ('describe', 'facap/tiny-captioner')
    >>> config = VerifyConfig(ask="attribute", model="/models/vlm-7b", chat=True, prepare="as_is")
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from facap.annotate.config import CaptionConfig

# What says where and how fast verdicts are made, or is in a key by its content.
_NOT_IN_KEY = ("question", "num_workers", "batch_size", "mlflow_uri")


class VerifyConfig(CaptionConfig):
    """What is asked about the pictures, and whether targets are ranked."""

    ask: Literal["describe", "attribute"] = Field(
        "describe",
        description="describe: the VLM's description of a picture answers every question about it, and "
        "CAPTIONS made alike are taken as they are; attribute: a question a picture and attribute, for "
        "models that follow instructions",
    )
    question: str = Field(
        "verify_attribute",
        description="ask=attribute: a prompt of annotate/prompts, or the path of a .jinja file",
    )
    views: Literal["own", "all"] = Field(
        "own",
        description="all: a claim needs the support of every picture of the product, which finds wrong"
        " captions too; for products whose pictures show the same, with ask=describe",
    )
    ranks: bool = Field(
        True,
        description="rank targets by the trained model of the workspace, if it is there and evaluated",
    )
    num_workers: int = Field(2, ge=1, description="most Ray actors that embed texts; one for each 1,000")
    batch_size: int = Field(64, ge=1, description="texts embedded at once")
    mlflow_uri: str = Field("", description="tracking server; empty: SQLite in the workspace")

    @model_validator(mode="after")
    def _views_are_described(self) -> "VerifyConfig":
        if self.views == "all" and self.ask != "describe":
            raise ValueError(
                "views all needs ask describe: questions are asked about a triplet's own pictures only"
            )
        return self

    def result_settings(self) -> dict[str, Any]:
        """The settings that can change what is written."""
        settings = super().result_settings()
        return {name: value for name, value in settings.items() if name not in _NOT_IN_KEY}
