"""Settings of the spot check: what is sampled for people to mark, and how their marks are compared."""

from pydantic import Field

from facap.config import StageConfig


class ReviewConfig(StageConfig):
    """One section for both jobs, so that marks are compared with the score they were sampled by."""

    score: str = Field(
        "quality", description="column of TRIPLETS (of floats) that is checked against people's marks"
    )
    num_triplets: int = Field(60, ge=1, le=1000, description="triplets on the page; 60 take ten minutes")
    seed: int = Field(0, ge=0, description="another seed draws other triplets")
    buckets: int = Field(
        4, ge=1, le=20, description="ranges of the score that are sampled alike; rare low scores are seen too"
    )
    picture_px: int = Field(320, ge=64, le=1024, description="longest side of a picture on the page, px")
    marks: tuple[str, ...] = Field((), description="files that the page exported, one or several")
    num_resamples: int = Field(2000, ge=100, le=100_000, description="bootstrap resamples for intervals")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals, as a share")
