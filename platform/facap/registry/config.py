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
        description="percentage points of R@10 by which a model must beat the best baseline, and beyond the "
        "interval of the difference; negative: how much worse is put up with, without an interval",
    )
    min_lead: float = Field(
        0.0, ge=-100, le=100, description="the same against the champion on the same queries"
    )
    max_category_loss: float = Field(
        5.0, ge=0, le=100, description="points that no category may fall behind the champion"
    )
    max_size_mib: float = Field(0.0, ge=0, description="of the model's files; 0: no limit")
    max_latency_ms: float = Field(
        0.0, ge=0, description="of embedding one query on this machine's CPU, the median of 20; 0: no limit"
    )
    unmeasured_champion: Literal["replace", "keep"] = Field(
        "replace",
        description="what to do when the champion answered other queries, so that the two do not compare",
    )
    require_promotion: bool = Field(
        True, description="stop the run if the model is refused and there is no champion to go on with"
    )
    mlflow_uri: str = Field("", description="MLflow server; empty: SQLite in the workspace")
