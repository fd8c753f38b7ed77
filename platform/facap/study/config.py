"""Settings of the study."""

from pydantic import Field

from facap.config import StageConfig


class StudyConfig(StageConfig):
    """How many garments, trainings and steps; what is compared is in facap.study.variants."""

    families: int = Field(
        840, ge=20, description="of six similar garments each, one picture and one triplet a garment"
    )
    steps: int = Field(80, ge=1, description="of 64 triplets, for every training but the champion's")
    seeds: int = Field(3, ge=1, description="trainings of each variant, with other fresh weights and orders")
    variants: tuple[str, ...] = Field((), description="names of those that are trained; none: all")
    threads: int = Field(
        1, ge=1, description="of each training, which reserves as many CPUs; trainings run side by side"
    )
