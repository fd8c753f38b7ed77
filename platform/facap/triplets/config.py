"""Settings of pair mining (CAPTIONS + IMAGES -> PAIRS)."""

from typing import Literal

from pydantic import Field, model_validator

from facap.config import StageConfig


class PairsConfig(StageConfig):
    """How references find their targets."""

    base: str = Field(
        "facap/tiny-retrieval",
        description="BLIP-2 retrieval checkpoint whose image embeddings measure similarity: "
        "facap/<name>, a folder or a hub name",
    )
    min_similarity: float = Field(
        0.3, ge=-1, le=1, description="least cosine of reference and target; below, they share too little"
    )
    max_similarity: float = Field(
        0.995, ge=-1, le=1, description="greatest cosine; above, they are taken for the same garment"
    )
    min_changes: int = Field(1, ge=0, description="fewest attributes that must differ, so there is a change")
    max_changes: int = Field(4, ge=1, description="most attributes that may differ, so a sentence can say it")
    min_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="pictures are left out if the least certain token of their caption is less probable;"
        " null: 0.9 for captions of the shipped models, else 0, as others choose their words freely; captions"
        " without this figure are all taken",
    )
    choose: Literal["spread", "nearest"] = Field(
        "spread",
        description="which acceptable neighbour becomes the target: any of them, by a hash of both ids, or "
        "the nearest, which the picture alone would find",
    )
    max_target_uses: int = Field(3, ge=1, description="references that may share one target")
    pool: int = Field(100, ge=1, description="nearest neighbours looked at for a reference, in images")
    max_failure_rate: float = Field(
        0.5, ge=0, le=1, description="share of captioned images that may end without a pair"
    )
    num_workers: int = Field(2, ge=1, description="most Ray actors that embed; one for each 1,000 images")
    batch_size: int = Field(64, ge=1, description="images embedded at once")

    @model_validator(mode="after")
    def _ordered(self) -> "PairsConfig":
        if self.min_similarity > self.max_similarity:
            raise ValueError("min_similarity should not exceed max_similarity")
        if self.min_changes > self.max_changes:
            raise ValueError("min_changes should not exceed max_changes")
        return self
