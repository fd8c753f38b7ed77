"""Settings of the training of the tiny models; the cards of the shipped weights say where those differ."""

from typing import Literal

from pydantic import Field

from facap.config import StageConfig


class TinyConfig(StageConfig):
    """How many garments are drawn and how long each model learns."""

    out: str = Field("tiny-models", description="folder the three models are written to")
    seed: int = Field(0, ge=0, description="of garments, views, weights and sampling")
    pictures: int = Field(24_000, ge=100, description="training pictures drawn at 128 px")
    sharp_pictures: int = Field(
        5_000, ge=0, description="training pictures drawn at 256 px and reduced, as crawled"
    )
    held_out: int = Field(
        1_000, ge=10, description="pictures of held-out garments that accuracy is measured on"
    )
    attribute_steps: int = Field(
        3_600, ge=0, description="steps of encoder and Q-Former on the attributes; 0 with start_from: none"
    )
    retrieval_steps: int = Field(1_200, ge=1, description="steps of the retrieval model's text side")
    captioner_steps: int = Field(1_500, ge=1, description="steps of the captioner's language model")
    writer_steps: int = Field(2_000, ge=1, description="steps of the modification writer")
    material_share: float = Field(
        0.5, ge=0, le=1, description="of the writer's pairs, those whose material changes on purpose"
    )
    models: tuple[Literal["tiny-captioner", "tiny-retrieval", "tiny-writer"], ...] = Field(
        ("tiny-captioner", "tiny-retrieval", "tiny-writer"), min_length=1, description="which are trained"
    )
    start_from: str = Field(
        "", description="folder of such models that training goes on from; empty: from fresh weights"
    )
    learning_rate: float = Field(
        1.0,
        gt=0,
        le=2,
        description="of all parts, as a multiple of the peak for fresh weights",
    )
    batch_size: int = Field(64, ge=2, description="samples a step")
    processes: int = Field(2, ge=1, description="processes that draw; threads that train")
