"""The Serve application: `build(ServeArgs)` -> Gateway -> QueryEncoder -> IndexSearch.

The gateway (serve_app/gateway.py) speaks HTTP and shows the catalogue; the encoder turns a picture
and a text into a vector, in batches; the search finds the nearest pictures. cluster/serve.yaml names
`serve_app.app:build` and gives its arguments.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Application

from facap.environment import set_here
from facap.index.build import read_metadata, require_model
from facap.model.checkpoints import weights_hash
from serve_app.config import ServeArgs
from serve_app.gateway import Gateway

SMALL_CPUS = 0.2  # what Ray sets aside for replicas that mostly wait or answer in a millisecond


@serve.deployment()
class QueryEncoder:
    """Holds the model; queries that arrive together share a forward pass."""

    def __init__(self, args: ServeArgs) -> None:
        import PIL.Image
        import torch

        from facap.model.encoder import Encoder

        set_here()  # KubeRay starts replicas without a job
        torch.set_num_threads(args.torch_threads)
        device = "cuda" if args.encoder_gpus else "cpu"
        self.encoder = Encoder.load(args.model_folder, device=device)
        self.encoder.queries([PIL.Image.new("RGB", (64, 80))], ["warm up"])
        self.embed.set_max_batch_size(args.max_batch_size)  # type: ignore[attr-defined]
        self.embed.set_batch_wait_timeout_s(args.batch_wait_ms / 1000)  # type: ignore[attr-defined]

    @serve.batch
    async def embed(self, queries: list[tuple[bytes, str]]) -> list[tuple[np.ndarray, float]]:
        """(JPEG, text) -> (unit vector (D,), milliseconds of its batch)."""
        return await asyncio.to_thread(self._embed, queries)

    def _embed(self, queries: list[tuple[bytes, str]]) -> list[tuple[np.ndarray, float]]:
        from facap.model.preprocess import decode

        started = time.perf_counter()
        vectors_BD = self.encoder.queries(
            [decode(data) for data, _ in queries], [text for _, text in queries]
        )
        milliseconds = 1000 * (time.perf_counter() - started)
        return [(vector, milliseconds) for vector in vectors_BD]


@serve.deployment()
class IndexSearch:
    """Holds the index."""

    def __init__(self, args: ServeArgs) -> None:
        import faiss

        from facap.index.search import CatalogIndex

        faiss.omp_set_num_threads(1)  # queries come in parallel; threads within one only add waiting
        self.index = CatalogIndex.load(args.index_folder)
        require_model(self.index.metadata, args.model_version, weights_hash(args.model_folder))

    async def search(
        self, vector_D: np.ndarray, k: int, category: str | None, exclude: Sequence[str]
    ) -> tuple[list[dict[str, Any]], float]:
        """The k best pictures, best first, and the milliseconds it took."""
        started = time.perf_counter()
        (names,), (scores,) = self.index.search(vector_D[None], k, exclude=[exclude], category=category)
        results = []
        for name, score in zip(names, scores, strict=True):
            entry = self.index.entries[self.index.row_of[name]]
            results.append(
                {
                    "image_id": name,
                    "product_id": entry.product_id,
                    "category": entry.category,
                    "score": round(float(score), 6),
                }
            )
        return results, 1000 * (time.perf_counter() - started)


def build(args: ServeArgs) -> Application:
    """The application; raises ContractError if the index was made by another model."""
    require_model(read_metadata(args.index_folder), args.model_version, weights_hash(args.model_folder))
    encoder = _replicas(QueryEncoder, args.encoder_replicas, args.encoder_cpus, args, args.encoder_gpus)
    search = _replicas(IndexSearch, args.search_replicas, SMALL_CPUS, args)
    gateway = _replicas(Gateway, args.gateway_replicas, SMALL_CPUS, args)
    return gateway.bind(args, encoder.bind(args), search.bind(args))


def _replicas(deployment: Any, number: int, cpus: float, args: ServeArgs, gpus: float = 0) -> Any:
    return deployment.options(
        num_replicas=number,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
    )
