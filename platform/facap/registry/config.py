"""Settings of the model registry and of the gate before it (model + METRICS -> the champion)."""

from typing import Literal

from pydantic import Field

from facap.config import StageConfig


class RegistryConfig(StageConfig):
    """Under which name models are kept and what one must show to be promoted."""

    name: str = Field(
        "facap-fashionblip2",
        pattern=r"^[\w.\- ]+$",
        description="registered model in MLflow; one a task, versions count up",
    )
    min_gain: float = Field(
        0.0,
        ge=-100,
        le=100,
        description="percentage points of R@10 by which a model must beat the best baseline; "
        "a gain of exactly zero is not enough unless this is negative: how much worse is put up with",
    )
    unmeasured_champion: Literal["replace", "keep"] = Field(
        "replace",
        description="what to do when the champion was measured on other data, so that the two "
        "numbers do not compare",
    )
    require_promotion: bool = Field(
        True, description="stop the run if the model is refused and there is no champion to go on with"
    )
    mlflow_uri: str = Field("", description="MLflow server; empty: SQLite in the workspace")
