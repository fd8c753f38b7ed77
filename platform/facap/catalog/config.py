"""Settings of the catalogue: a source of your own, or the rendered demo catalogue."""

from datetime import date
from typing import Any

from pydantic import Field, field_validator

from facap.catalog.categories import names_of
from facap.config import StageConfig
from facap.quoting import shown
from facap.schemas import CATEGORIES

COLUMNS = ("product_id", "category", "url", "more_urls", "title")


class CatalogConfig(StageConfig):
    """A source -> ITEMS. `num_products`, `views`, `seed` and `port` describe the demo catalogue."""

    manifest: str = Field(
        "",
        description="file, folder or http(s) address of a table (CSV, TSV, JSON Lines, Parquet), feed, "
        "sitemap or product page; see docs/sources.md; empty: the demo catalogue",
    )
    columns: dict[str, str] = Field(
        {},
        description="our field -> column of the source, e.g. {product_id: sku, url: image_url}; fields: "
        + ", ".join(COLUMNS),
    )
    categories: str | dict[str, Any] = Field(
        "",
        description="category names of yours, on top of ours: {dress: [kleid, kleider]} or {kleid: dress, "
        "kleider: dress}, or the path of a YAML file that holds either",
    )
    default_category: str = Field(
        "", description="of items whose category is missing or unknown to the table; empty: they are unmapped"
    )
    read_pages: bool = Field(
        False,
        description="fetch every page of a sitemap for its schema.org Product; else its images are taken",
    )
    pages_since: date | None = Field(
        None, description="date (2026-11-23); product pages read before it are read again, others are kept"
    )
    max_failed_documents: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the files of a source that may be missing or break off; what is lost with them "
        "counts as vanished",
    )
    max_failed_pages: float = Field(
        0.2, ge=0, le=1, description="share of product pages that may fail to be fetched"
    )
    max_download_bytes: int = Field(
        256 * 2**20, gt=0, description="largest feed or sitemap that is fetched, bytes; one is held in memory"
    )
    max_source_bytes: int = Field(
        4 * 2**30, gt=0, description="of one file once unpacked, bytes; it is streamed, so this bounds time"
    )
    num_products: int = Field(2000, ge=1, le=99_999, description="products of the demo catalogue")
    views: int = Field(2, ge=1, le=9, description="pictures of each demo product")
    seed: int = Field(0, ge=0, description="of the demo catalogue's garments, views and faults")
    port: int = Field(
        8765,
        ge=1024,
        le=65535,
        description="of the demo catalogue's server; part of its URLs, hence of ITEMS",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_are_a_mapping(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            raise ValueError(
                "should be a mapping from our field to a column, such as {product_id: sku, url: picture}, "
                f"is {type(columns).__name__} {shown(columns, 80)}"
            )
        return columns

    @field_validator("categories", mode="before")
    @classmethod
    def _categories_are_a_table(cls, categories: Any) -> Any:
        if isinstance(categories, str):
            return categories
        try:
            return names_of(categories)
        except ValueError as error:
            raise ValueError(f"{error}, or the path of a YAML file with one") from error

    @field_validator("columns")
    @classmethod
    def _fields_are_ours(cls, columns: dict[str, str]) -> dict[str, str]:
        for field in columns:
            if field not in COLUMNS:
                raise ValueError(f"unknown field '{field}'; known: {', '.join(COLUMNS)}")
        return columns

    @field_validator("default_category")
    @classmethod
    def _category_is_ours(cls, category: str) -> str:
        if category and category not in CATEGORIES:
            raise ValueError(f"should be one of {', '.join(CATEGORIES)}, got '{category}'")
        return category

    def for_demo(self) -> dict[str, Any]:
        """The settings that the demo catalogue is made from."""
        return self.model_dump(include={"num_products", "views", "seed", "port"})
