"""What is scored -> vectors of the gallery and of the queries, on Ray actors.

The galleries are EMBEDDINGS, of the trained model and of the base checkpoint that the baselines share. Of
the queries the actors embed what no gallery has: picture and text together by FashionBLIP-2, the text alone
by the base. The picture of a baseline's query is its reference's vector in the gallery.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.dataflow import read_parts
from facap.evaluate.config import EvaluateConfig
from facap.evaluate.protocol import Query, Vectors
from facap.model.embed import (
    BASE,
    TRAINED,
    Workers,
    base_model,
    embed,
    kept,
    read_vectors,
    require_all,
    trained_model,
)
from facap.progress import Progress
from facap.store import Store

if TYPE_CHECKING:
    from facap.model.baselines import Mode

Asked = dict[str, list[tuple[int, str]]]  # reference image_id -> its queries: number and text


@dataclass(frozen=True)
class Scored:
    """A model or a baseline: its name in METRICS, and of a baseline its mode; None for FashionBLIP-2."""

    version: str
    mode: "Mode | None" = None


def embed_scored(
    store: Store,
    scored: list[Scored],
    base: str,
    queries: list[Query],
    config: EvaluateConfig,
    progress: Progress,
) -> dict[str, Vectors]:
    """Version -> its vectors of all kept pictures and of the queries. `base`: the baselines' checkpoint."""
    from facap.model.baselines import compose

    workers = Workers(num_actors=config.num_workers, batch_size=config.batch_size)
    galleries: dict[str, dict[str, np.ndarray]] = {}
    for name, model in ((BASE, base_model(base)), (TRAINED, trained_model(store.folder("model")))):
        require_all(embed(store, name, model, workers, progress), "evaluate")
        galleries[name] = dict(zip(*read_vectors(store, name), strict=True))
    both_QD, text_QD = _embed_queries(store, base, queries, workers, progress)
    picture_QD = np.stack([galleries[BASE][query.reference_id] for query in queries])
    return {
        one.version: Vectors(galleries[BASE], compose(one.mode, picture_QD, text_QD))
        if one.mode
        else Vectors(galleries[TRAINED], both_QD)
        for one in scored
    }


def by_reference(queries: Sequence[Query]) -> Asked:
    """The queries as EmbedQueries wants them."""
    asked: Asked = {}
    for number, query in enumerate(queries):
        asked.setdefault(query.reference_id, []).append((number, query.text))
    return asked


def _embed_queries(
    store: Store, base: str, queries: list[Query], workers: Workers, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Picture and text by the trained model, text by the base; both in the order of the queries."""
    asked = by_reference(queries)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for numbers, both_QD, text_QD in embed_queries(store, store.folder("model"), asked, workers, base):
        found |= {n: (both, text) for n, both, text in zip(numbers, both_QD, text_QD, strict=True)}
        progress.update(len(found), len(queries), "queries")
    both, text = zip(*(found[number] for number in range(len(queries))), strict=True)
    return np.array(both, np.float32), np.array(text, np.float32)


def embed_queries(
    store: Store, model_folder: str, asked: Asked, workers: Workers, base: str = ""
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """A part of IMAGES at a time: numbers of queries, their vectors Q x D, and those of the texts alone.

    The latter are Q x 0 without `base`, the checkpoint that they are of.
    """
    images = read_parts(store, "images", ["image_id", "bytes", "status", "duplicate_of"])
    embedded = images.map_batches(
        EmbedQueries,
        fn_constructor_args=(model_folder, base, asked, workers.batch_size),
        **workers.pool(sum(map(len, asked.values()))),
    )
    batch: Any
    for batch in embedded.iter_batches(batch_format="pyarrow", batch_size=None):
        if batch.num_rows:
            both, text = (np.array(batch.column(name).to_pylist(), np.float32) for name in ("both", "text"))
            yield batch.column("query").to_pylist(), both, text


class EmbedQueries:
    """A Ray actor: rows of IMAGES -> number and vectors of the queries that start from them."""

    def __init__(self, model_folder: str, base: str, asked: Asked, batch_size: int) -> None:
        import torch

        from facap.model.baselines import Baseline
        from facap.model.encoder import Encoder

        torch.set_num_threads(1)  # actors stand side by side
        self.encoder = Encoder.load(model_folder)
        self.base = Baseline.load(base, "text_only") if base else None
        self.asked, self.batch_size = asked, batch_size
        self.wanted = pa.array(sorted(asked), pa.string())

    def __call__(self, images: pa.Table) -> pa.Table:
        from facap.model.preprocess import decode

        images = kept(images)
        images = images.filter(pc.is_in(images.column("image_id"), self.wanted))
        mine = [
            (number, decode(row["bytes"]), text)
            for row in images.to_pylist()
            for number, text in self.asked[row["image_id"]]
        ]
        both: list[Any] = []
        plain: list[Any] = []
        for start in range(0, len(mine), self.batch_size):
            some = mine[start : start + self.batch_size]
            pictures, texts = [picture for _, picture, _ in some], [text for _, _, text in some]
            both += list(self.encoder.queries(pictures, texts))
            plain += list(self.base.texts(texts)) if self.base else [[]] * len(texts)
        return pa.table(
            {
                "query": pa.array([number for number, _, _ in mine], pa.int64()),
                "both": pa.array(both, pa.list_(pa.float32())),
                "text": pa.array(plain, pa.list_(pa.float32())),
            }
        )
