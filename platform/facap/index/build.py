"""EMBEDDINGS -> index: vectors into FAISS, and the three files that an index artefact consists of.

    index.faiss     the vectors, as FAISS writes them
    ids.parquet     row i says what vector i shows: image_id, item_id, product_id, category
    index.json      IndexMetadata: what made the index, and how to search it

No file holds code or pickles, so an index from elsewhere can be opened safely.
"""

import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from facap.errors import ConfigError, ContractError
from facap.index.config import IndexConfig

VECTORS_FILE, IDS_FILE, METADATA_FILE = "index.faiss", "ids.parquet", "index.json"
FILES = (VECTORS_FILE, IDS_FILE, METADATA_FILE)
ID_COLUMNS = ["image_id", "item_id", "product_id", "category"]
MIN_PER_LIST = 39  # FAISS warns of poor clusters below this many training vectors a cluster
PQ_CODES = 256  # codewords a segment at 8 bits; k-means needs as many vectors


@dataclass(frozen=True)
class IndexMetadata:
    """What an index holds and what made it; the content of index.json."""

    model_version: str  # registry version of the model whose vectors these are
    model_fingerprint: str  # facap.model.checkpoints.weights_hash of its folder
    dim: int
    count: int
    kind: str
    metric: str = "inner_product"
    images_fingerprint: str = ""  # the IMAGES that were embedded
    image_files: list[str] = field(default_factory=list)  # their parts, relative to <workspace>/images
    settings: dict[str, Any] = field(default_factory=dict)


def build_index(vectors_ND: np.ndarray, config: IndexConfig) -> faiss.Index:
    """A FAISS index by inner product over float32 N x D.

    Raises ConfigError when there are too few vectors for the settings of ivf_*, or when
    pq_segments does not divide D.
    """
    num, dim = vectors_ND.shape
    metric = faiss.METRIC_INNER_PRODUCT
    if config.kind == "flat":
        index = faiss.IndexFlatIP(dim)
    elif config.kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, config.hnsw_links, metric)
        index.hnsw.efConstruction = config.hnsw_build
    else:
        _check_clusters(num, dim, config)
        # "np": no polysemous training, which takes minutes and serves a search that is not ours
        code = "SQ8" if config.kind == "ivf_sq8" else f"PQ{config.pq_segments}np"
        index = faiss.index_factory(dim, f"IVF{config.ivf_lists},{code}", metric)
        index.cp.seed = config.seed
        index.train(vectors_ND)
    index.add(vectors_ND)
    return index


def _check_clusters(num: int, dim: int, config: IndexConfig) -> None:
    if num < config.ivf_lists * MIN_PER_LIST:
        raise ConfigError(
            f"index.ivf_lists {config.ivf_lists} needs {config.ivf_lists * MIN_PER_LIST:,} vectors, there "
            f"are {num:,}; set it to at most {max(1, num // MIN_PER_LIST)} or index.kind to flat"
        )
    if config.kind == "ivf_pq" and dim % config.pq_segments:
        raise ConfigError(
            f"index.pq_segments is {config.pq_segments}, which does not divide the {dim} dimensions"
        )
    if config.kind == "ivf_pq" and num < PQ_CODES:
        raise ConfigError(f"index.kind ivf_pq needs {PQ_CODES} vectors, there are {num}; set it to flat")


def write_index(folder: str, index: faiss.Index, ids: pa.Table, metadata: IndexMetadata) -> None:
    """Writes the files of an index to `folder` (a path or URI), each there whole or not at all."""
    assert index.ntotal == ids.num_rows == metadata.count
    fs, base = FileSystem.from_uri(folder)
    fs.create_dir(base, recursive=True)
    for name in FILES:
        temporary = f"{base}/{name}.{uuid.uuid4().hex}.tmp"
        with fs.open_output_stream(temporary) as out:
            if name == VECTORS_FILE:
                faiss.write_index(index, faiss.PyCallbackIOWriter(out.write))
            elif name == IDS_FILE:
                pq.write_table(ids.select(ID_COLUMNS), out, compression="zstd")
            else:
                out.write(json.dumps(asdict(metadata), indent=1).encode())
        fs.move(temporary, f"{base}/{name}")


def read_metadata(folder: str) -> IndexMetadata:
    """index.json of the index in `folder`; ContractError if it is missing or not one of ours."""
    try:
        fs, base = FileSystem.from_uri(folder)
        with fs.open_input_stream(f"{base}/{METADATA_FILE}") as source:
            return IndexMetadata(**json.loads(source.read()))
    except (OSError, ValueError, TypeError) as error:
        raise ContractError(
            f"index: {folder}/{METADATA_FILE} should describe an index, but cannot be read ({error}); "
            "run the job build_index"
        ) from error


def read_ids(folder: str) -> pa.Table:
    """ids.parquet of the index in `folder`: what each vector shows, in the order of the vectors."""
    try:
        fs, base = FileSystem.from_uri(folder)
        return pq.ParquetFile(f"{base}/{IDS_FILE}", filesystem=fs).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise ContractError(
            f"index: {folder}/{IDS_FILE} cannot be read ({error}); run the job build_index again"
        ) from error


def require_model(metadata: IndexMetadata, model_version: str, model_fingerprint: str) -> None:
    """Raises ContractError unless the index was made by exactly this model.

    Vectors of two models cannot be compared: every result would be silently wrong.
    """
    made_by = (metadata.model_version, metadata.model_fingerprint)
    if made_by != (model_version, model_fingerprint):
        raise ContractError(
            f"index: was made by model version {made_by[0]} ({made_by[1]}), but the model to serve is "
            f"version {model_version} ({model_fingerprint}); run the job build_index, or serve "
            f"version {made_by[0]}"
        )
