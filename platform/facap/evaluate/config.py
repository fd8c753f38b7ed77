"""Settings of the evaluation (TRIPLETS of the test split + IMAGES + models -> METRICS)."""

from typing import Literal

from pydantic import Field

from facap.config import StageConfig


class EvaluateConfig(StageConfig):
    """What is scored and how the intervals are made."""

    base: str | None = Field(
        None,
        description="BLIP-2 retrieval checkpoint of the baselines: facap/<name>, a folder or a hub name; "
        "null for the one that the model was trained from",
    )
    protocols: tuple[Literal["reference_excluded", "original", "original_no_reference", "val"], ...] = Field(
        (),
        description="how galleries are formed; none: the last three for TRIPLETS with lists of images, "
        "else the first",
    )
    split: Literal["train", "val", "test"] | None = Field(
        None,
        description="whose triplets are asked; null: val with lists of images, else test",
    )
    whole_catalogue: bool = Field(
        True, description="rank among the whole catalogue's pictures; false: among the test split's alone"
    )
    bootstrap_samples: int = Field(1000, ge=100, description="resamples of the queries for an interval")
    confidence: float = Field(0.95, gt=0, lt=1, description="coverage of the intervals")
    seed: int = Field(0, ge=0, description="of the resampling")
    num_workers: int = Field(2, ge=1, description="most Ray actors that embed; one for each 1,000 images")
    batch_size: int = Field(64, ge=1, description="images or queries embedded at once")
    mlflow_uri: str = Field("", description="tracking server; empty: SQLite in the workspace")


class CompareConfig(StageConfig):
    """Which two models `jobs.compare_models` holds against each other, under evaluate's settings."""

    first: str = Field(
        "model",
        min_length=1,
        description="model: the one trained in the workspace; champion, previous, challenger or a number:"
        " that version of the registry; else the folder of a model",
    )
    second: str = Field("champion", min_length=1, description="the other one, named in the same way")


class SubmissionConfig(StageConfig):
    """Another model's results from files, for `jobs.score_submission`."""

    folder: str = Field("", description="embeddings or rankings, see docs/evaluation.md")
    name: str = Field("submission", pattern=r"^[\w.-]+$", description="what the model is called in the table")
    max_file_mib: int = Field(4096, ge=1, description="largest file that is read, MiB")
