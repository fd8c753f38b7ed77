"""Settings of cleaning: what is old enough to go, and whether it goes."""

from pydantic import Field

from facap.config import StageConfig


class CleanConfig(StageConfig):
    """What of a workspace may go."""

    remove: bool = Field(False, description="remove what may go; false only lists it")
    keep_days: float = Field(
        7.0,
        ge=0,
        description="days for which a version that is not the finished one is kept after its last change: it "
        "may be resumed, or be what a setting is changed back to",
    )
    keep: tuple[str, ...] = Field(
        (),
        description="what stays besides: files whose text names versions or downloaded models, such as the "
        "Serve config of a deployed service, or names such as model/data-<key>",
    )
    temporary_hours: float = Field(
        6.0,
        ge=0,
        description="hours after which a temporary file is of a write that was killed, and the lease of "
        "another machine of a run that was",
    )
