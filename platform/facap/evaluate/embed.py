"""Pictures of the gallery and queries of the test split -> vectors of every scored model, on Ray actors.

Each picture is read and decoded once; the actor that has it makes its gallery vector and the vectors
of the queries whose reference it is, by every model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.dataflow import read_parts
from facap.evaluate.config import EvaluateConfig
from facap.evaluate.protocol import Candidate, Query, Vectors
from facap.progress import Progress
from facap.schemas import OK
from facap.store import Store

if TYPE_CHECKING:
    from facap.model.baselines import Mode

Asked = dict[str, list[tuple[int, str]]]  # reference image_id -> its queries: number and text


@dataclass(frozen=True)
class Scored:
    """A model or a baseline: its name in METRICS and where its weights are."""

    version: str
    source: str
    mode: "Mode | None" = None  # of a baseline; None for FashionBLIP-2

    @property
    def gallery(self) -> str:
        """Models that name the same gallery embed candidates alike: the baselines on one base do."""
        return self.source if self.mode else self.version

    def load(self) -> Any:
        """Its Encoder or Baseline."""
        from facap.model.baselines import Baseline
        from facap.model.encoder import Encoder

        return Baseline.load(self.source, self.mode) if self.mode else Encoder.load(self.source)


def embed(
    store: Store,
    scored: list[Scored],
    queries: list[Query],
    gallery: list[Candidate],
    config: EvaluateConfig,
    progress: Progress,
) -> dict[str, Vectors]:
    """Model version -> its vectors of the gallery and the queries."""
    import ray

    asked: Asked = {}
    for number, query in enumerate(queries):
        asked.setdefault(query.reference_id, []).append((number, query.text))
    wanted = pa.array([candidate.image_id for candidate in gallery], pa.string())
    columns = ["image_id", "bytes", "status", "duplicate_of"]
    images = read_parts(store, "images", columns)
    selected = images.map_batches(_Select(wanted), batch_format="pyarrow", batch_size=None)
    embedded = selected.map_batches(
        _Embedder,
        fn_constructor_kwargs={"scored": scored, "asked": asked, "batch_size": config.batch_size},
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=config.num_workers, initial_size=config.num_workers
        ),
        num_cpus=0.5,  # with whole ones, two actors on two cores would leave none to list the files with
    )
    galleries: dict[str, dict[str, np.ndarray]] = {one.version: {} for one in scored}
    found: dict[str, dict[int, np.ndarray]] = {one.version: {} for one in scored}
    total, done = len(gallery) + len(queries), 0
    batch: Any
    for batch in embedded.iter_batches(batch_format="pyarrow", batch_size=None):
        ids, numbers = batch.column("image_id").to_pylist(), batch.column("query").to_pylist()
        for one in scored:
            for image_id, number, vector in zip(ids, numbers, _matrix(batch, one.version), strict=True):
                if number is None:
                    galleries[one.version][image_id] = vector
                else:
                    found[one.version][number] = vector
        done += len(ids)
        progress.update(done, total, "pictures and queries")
    return {
        version: Vectors(galleries[version], np.stack([found[version][i] for i in range(len(queries))]))
        for version in galleries
    }


def _matrix(batch: pa.Table, name: str) -> np.ndarray:
    flat = batch.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(batch.num_rows, -1) if batch.num_rows else flat


class _Select:
    """IMAGES rows -> image_id and bytes of the kept ones that are wanted."""

    def __init__(self, wanted: pa.Array) -> None:
        self.wanted = wanted

    def __call__(self, images: pa.Table) -> pa.Table:
        kept = pc.and_(pc.equal(images.column("status"), OK), pc.is_null(images.column("duplicate_of")))
        kept = pc.and_(kept, pc.is_in(images.column("image_id"), self.wanted))
        return images.filter(kept).select(["image_id", "bytes"])


class _Embedder:
    """A Ray actor: pictures -> a row each, and a row for each of their queries; a column a model."""

    def __init__(self, scored: list[Scored], asked: Asked, batch_size: int) -> None:
        self.encoders = {one: one.load() for one in scored}
        self.asked, self.batch_size = asked, batch_size

    def __call__(self, block: pa.Table) -> pa.Table:
        from facap.model.preprocess import decode

        pictures = {row["image_id"]: decode(row["bytes"]) for row in block.to_pylist()}
        ids = sorted(pictures)
        asked = [
            (image_id, number, text) for image_id in ids for number, text in self.asked.get(image_id, [])
        ]
        columns = {
            "image_id": pa.array(ids + [image_id for image_id, _, _ in asked], pa.string()),
            "query": pa.array([None] * len(ids) + [number for _, number, _ in asked], pa.int64()),
        }
        galleries: dict[str, list[np.ndarray]] = {}
        for one, encoder in self.encoders.items():
            if one.gallery not in galleries:
                galleries[one.gallery] = [
                    vector
                    for some in _batches(ids, self.batch_size)
                    for vector in encoder.candidates([pictures[image_id] for image_id in some])
                ]
            vectors = list(galleries[one.gallery])
            for few in _batches(asked, self.batch_size):
                texts = [text for _, _, text in few]
                vectors += list(encoder.queries([pictures[image_id] for image_id, _, _ in few], texts))
            columns[one.version] = pa.array(vectors, pa.list_(pa.float32()))
        return pa.table(columns)


def _batches(items: list, size: int) -> Iterator[list]:
    return (items[start : start + size] for start in range(0, len(items), size))
