"""Settings of embedding the catalogue and building its index; the defaults are the embedded size."""

from typing import Literal

from pydantic import Field

from facap.config import StageConfig

Kind = Literal["flat", "hnsw", "ivf_sq8", "ivf_pq"]

# Settings that change how fast the stage runs, not what it makes: they stay out of its key.
RUN_ONLY = frozenset({"num_actors", "actor_cpus", "torch_threads", "batch_size", "rows_per_part"})


class IndexConfig(StageConfig):
    """How the catalogue is embedded and indexed."""

    kind: Kind = Field(
        "flat",
        description="flat is exact and reads every vector for every query; from about 100,000 vectors on, "
        "ivf_sq8 reads a few clusters of them, hnsw and ivf_pq trade further",
    )
    batch_size: int = Field(64, ge=1, description="pictures a forward pass")
    num_actors: int = Field(1, ge=1, description="most encoders side by side; one for each 1,000 images")
    actor_cpus: float = Field(1, gt=0, description="CPU cores that Ray sets aside for one encoder")
    torch_threads: int = Field(2, ge=1, description="threads of one encoder on a CPU")
    rows_per_part: int = Field(512, ge=1, description="rows that a kill can lose")
    hnsw_links: int = Field(32, ge=4, le=128, description="hnsw: links a vector (M)")
    hnsw_build: int = Field(
        200, ge=8, description="hnsw: candidates looked at per insertion (efConstruction)"
    )
    hnsw_search: int = Field(128, ge=8, description="hnsw: candidates looked at per query (efSearch)")
    ivf_lists: int = Field(
        64, ge=1, description="ivf_*: clusters; about 4 * sqrt(vectors), at least 39 vectors each"
    )
    ivf_probe: int = Field(4, ge=1, description="ivf_*: clusters looked at per query")
    pq_segments: int = Field(16, ge=1, description="ivf_pq: bytes a vector; must divide its length")
    seed: int = Field(0, ge=0, description="of the clustering of ivf_*")
