"""Settings of the catalogue: a manifest of your own, or the rendered demo catalogue."""

from pydantic import Field

from facap.config import StageConfig


class CatalogConfig(StageConfig):
    """A manifest -> ITEMS. Everything but `manifest` describes the demo catalogue."""

    manifest: str = Field(
        "",
        description="CSV, JSON Lines or Parquet file with product_id, category, url, title and any further "
        "attribute columns; empty: the demo catalogue",
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
