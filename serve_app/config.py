"""Settings of the service: `ServeConfig` for the job that deploys it, `ServeArgs` for the application.

The job fills the paths of its run into cluster/serve.yaml, whose `args` are `ServeArgs`; on a cluster
the same file is written by hand. Everything that tunes the service lives there.
"""

from pydantic import Field

from facap.config import StageConfig


class ServeConfig(StageConfig):
    """Where and how the job deploys the service."""

    host: str = Field("127.0.0.1", description="address that the HTTP server listens on; 0.0.0.0 for all")
    port: int = Field(8000, ge=1, le=65535, description="port of the search page and the API")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="port of the MLflow UI that quickstart opens")
    config_file: str = Field(
        "", description="the Serve config to deploy; empty: cluster/serve.yaml of this checkout"
    )
    ready_timeout_s: float = Field(
        300, gt=0, description="longest wait until every replica is ready, seconds"
    )
    sample_text: str = Field(
        "in red, with long sleeves", description="modification text of the query that the job tries"
    )
    sample_k: int = Field(5, ge=1, le=100, description="results of that query that are printed")


class ServeArgs(StageConfig):
    """What the application is made of; the `args` of cluster/serve.yaml."""

    workspace: str = Field(description="where IMAGES lies: a path or an s3:// URI")
    model_folder: str = Field(description="the folder of the model to serve")
    model_version: str = Field(description="its version in the registry; the index must be of the same")
    index_folder: str = Field(description="the folder of the index")

    gateway_replicas: int = Field(1, ge=1, description="HTTP front ends")
    encoder_replicas: int = Field(1, ge=1, description="replicas of the model; add these first")
    search_replicas: int = Field(1, ge=1, description="replicas of the index; each holds it in memory")
    encoder_cpus: float = Field(1, gt=0, description="CPU cores that Ray sets aside for one encoder")
    encoder_gpus: float = Field(0, ge=0, description="GPUs that Ray sets aside for one encoder")
    torch_threads: int = Field(1, ge=1, description="threads of one encoder; more replicas beat more threads")
    max_batch_size: int = Field(16, ge=1, description="queries that one forward pass may share")
    batch_wait_ms: float = Field(5, ge=0, description="longest wait for a batch to fill, milliseconds")
    max_ongoing_requests: int = Field(
        64,
        ge=1,
        description="requests that one replica works on at a time; Serve's own default of 5 starves batches",
    )
    max_queued_requests: int = Field(
        128, ge=1, description="requests that may wait for a replica; what comes on top gets a 503 at once"
    )

    max_upload_bytes: int = Field(8 * 1024**2, ge=1024, description="largest request body, bytes")
    max_upload_pixels: int = Field(40_000_000, ge=1, description="largest upload that is decoded, pixels")
    max_text_chars: int = Field(500, ge=1, description="longest modification text, characters")
    max_results: int = Field(100, ge=1, description="largest k of a query")
    exclude_same_product: bool = Field(
        True, description="leave out the other pictures of the reference's product, not just itself"
    )
    image_cache_bytes: int = Field(
        512 * 1024**2,
        ge=0,
        description="pictures are held in memory up to this size, bytes; above, each is read when asked for",
    )
