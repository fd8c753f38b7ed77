"""Settings of the import and export of triplets."""

from typing import Literal

from pydantic import Field, field_validator

from facap.config import StageConfig
from facap.schemas import SPLITS

Layout = Literal["fashion_iq", "facap", "parquet"]


def _are_splits(splits: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        raise ValueError(f"should be one or more of {', '.join(SPLITS)}, got '{', '.join(unknown)}'")
    return splits


class ImportConfig(StageConfig):
    """A folder in a published layout -> TRIPLETS, GALLERIES and, with pictures, IMAGES."""

    layout: Layout = Field("fashion_iq", description="layout of the folder: fashion_iq, facap or parquet")
    folder: str = Field("", description="the dataset's folder")
    images: str = Field(
        "", description="folder with its pictures, which become IMAGES; empty: triplets are named, not shown"
    )
    splits: tuple[str, ...] = Field(SPLITS, description="splits that are read; the others are passed over")
    categories: tuple[str, ...] = Field(
        (), description="categories besides FACap's and Fashion IQ's that file names may have"
    )
    name: str = Field("", description="the dataset's name, for the column `model`; empty: the layout's")
    max_file_mib: int = Field(
        256, ge=1, description="largest file that is read, MiB; captions of FACap's size take 30"
    )
    max_failure_rate: float = Field(
        0.2, ge=0, le=1, description="share of pictures that may be missing or unusable"
    )
    decode_threads: int = Field(2, ge=1, description="threads that decode pictures")
    batch_size: int = Field(128, ge=1, description="pictures in one part, and most in memory at once")

    _splits = field_validator("splits")(_are_splits)


class ExportConfig(StageConfig):
    """TRIPLETS -> a folder in a published layout, with a dataset card."""

    layout: Layout = Field("facap", description="layout of the folder: fashion_iq, facap or parquet")
    folder: str = Field("", description="folder that is made; it must not be there yet")
    replace: bool = Field(False, description="put the new export in the place of an earlier one, at once")
    splits: tuple[str, ...] = Field(SPLITS, description="splits that are written")
    pictures: bool = Field(False, description="write the pictures along, to images/ in the folder")
    name: str = Field("facap-triplets", description="the dataset's name, heading of its card")
    licence: str = Field("", description="licence of the dataset, for its card, e.g. CC-BY-4.0")
    provenance: str = Field("", description="where pictures and texts are from, for the card; Markdown")

    _splits = field_validator("splits")(_are_splits)
