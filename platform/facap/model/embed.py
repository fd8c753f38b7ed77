"""IMAGES + a model -> EMBEDDINGS: every kept picture once through a model, for every stage that needs it.

    >>> embed(store, TRAINED, trained_model(folder), Workers(), Progress("index"))     # doctest: +SKIP
    >>> ids, vectors_ND = read_vectors(store, TRAINED)

There are two such datasets: "base_embeddings" of the base checkpoint, by which pairs are mined and baselines
are ranked, and "embeddings" of the trained model, which is evaluated and indexed. A stage asks for the one
that it needs; whichever asks first makes it. A killed run goes on with the pictures that no part holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.dataflow import read_parts, write_rows
from facap.errors import ContractError, StageFailed
from facap.model import checkpoints
from facap.progress import Progress
from facap.schemas import EMBEDDINGS, OK
from facap.store import Manifest, Stage, Store, stage_key

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = 2
BASE, TRAINED = "base_embeddings", "embeddings"
COLUMNS = ["image_id", "item_id", "product_id", "category", "status", "duplicate_of", "bytes"]
ROWS_WORTH_AN_ACTOR = 1000
UNDECODABLE = "undecodable"  # in the manifest's `extra`: kept pictures that have no row


class ImageEncoder(Protocol):
    """What embedding needs of a model; `Encoder` and `Baseline` are such."""

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        ...

    def candidates(self, images: "list[Image]") -> np.ndarray:
        """float32 B x D, rows of unit length."""
        ...


@dataclass(frozen=True)
class Model:
    """Whose vectors: a label that changes with the weights, and what opens the model in a worker."""

    label: str
    load: Callable[[], ImageEncoder]


@dataclass(frozen=True)
class Workers:
    """How many Ray actors embed, and with what."""

    num_actors: int = 2
    cpus: float = 0.5  # with whole ones, two actors on two cores would leave none to read the parts with
    torch_threads: int = 1
    batch_size: int = 64
    rows_per_part: int = 512  # what a kill can lose

    def pool(self, num_rows: int) -> dict[str, Any]:
        """The arguments of `map_batches` by which Ray Data starts them and hands each a part at a time.

        No more of them than `num_rows` pictures are worth: one costs ten seconds of a core before its first.
        """
        from ray.data import ActorPoolStrategy

        size = max(1, min(self.num_actors, -(-num_rows // ROWS_WORTH_AN_ACTOR)))
        actors = ActorPoolStrategy(min_size=1, max_size=size, initial_size=size)
        # A part is split by its actor: the same batches, hence bits, every time.
        return {"compute": actors, "num_cpus": self.cpus, "batch_format": "pyarrow", "batch_size": None}


def base_model(base: str) -> Model:
    """The contrastive space of a base checkpoint."""
    return Model(checkpoints.label(base), partial(_load_base, base))


def trained_model(folder: str) -> Model:
    """The FashionBLIP-2 in `folder`."""
    return Model(checkpoints.weights_hash(folder), partial(_load_trained, folder))


def _load_base(base: str) -> ImageEncoder:
    from facap.model.baselines import Baseline

    return Baseline.load(base, "image_only")


def _load_trained(folder: str) -> ImageEncoder:
    from facap.model.encoder import Encoder

    return Encoder.load(folder)


def embed(store: Store, name: str, model: Model, workers: Workers, progress: Progress) -> Manifest:
    """The finished dataset `name` of this model and IMAGES, made if need be; needs Ray running.

    A picture that cannot be decoded has no row; the manifest's `extra` counts them. Raises StageFailed if
    there is nothing to embed, ContractError if kept rows repeat an image_id.
    """
    inputs = {"images": store.fingerprint("images"), "model": model.label}
    stage = store.stage(name, EMBEDDINGS, stage_key("embed", VERSION, None, inputs))
    finished = stage.finished()
    if finished:
        return finished
    wanted = kept(store.read("images", ["image_id", "status", "duplicate_of"])).column("image_id").to_pylist()
    if not wanted:
        raise StageFailed(
            f"{progress.stage}: IMAGES holds no picture that was fetched; look at the crawl's failures first"
        )
    if len(set(wanted)) < len(wanted):
        raise ContractError(
            f"IMAGES: {len(wanted) - len(set(wanted))} kept rows repeat another row's image_id; "
            "duplicates should have duplicate_of set, run the crawl again"
        )
    if set(wanted) - stage.done("image_id"):
        _embed(store, stage, model, workers, len(wanted), progress)
    lost = undecodable(store, set(wanted) - stage.done("image_id"))
    extra = {UNDECODABLE: len(lost)}
    return stage.commit(config={}, inputs=inputs, extra=extra, expected=len(wanted) - len(lost))


def undecodable(store: Store, image_ids: set[str]) -> set[str]:
    """Those of some kept pictures of IMAGES that cannot be decoded; it ends with the first that can.

    One that can and yet has no row was lost, and with it the stage: there is no need to look at the others.
    """
    from facap.model.preprocess import decode

    wanted, found = pa.array(sorted(image_ids), pa.string()), set[str]()
    for file in store.require("images").files if image_ids else []:
        ids = store.read_file("images", file, ["image_id"]).column("image_id")
        if not pc.any(pc.is_in(ids, value_set=wanted)).as_py():
            continue
        images = kept(store.read_file("images", file, ["image_id", "status", "duplicate_of", "bytes"]))
        for row in images.filter(pc.is_in(images.column("image_id"), value_set=wanted)).to_pylist():
            try:
                decode(row["bytes"])
            except OSError:
                found.add(row["image_id"])
            else:
                return found
    return found


def require_all(manifest: Manifest, stage: str) -> None:
    """Raises StageFailed if a kept picture could not be embedded: the crawl had decoded it."""
    lost = manifest.extra[UNDECODABLE]
    if lost:
        raise StageFailed(
            f"{stage}: {lost} kept pictures of IMAGES cannot be decoded any more; the crawl could, so files "
            "were damaged since: remove its parts and run the crawl again"
        )


def _embed(
    store: Store, stage: Stage, model: Model, workers: Workers, total: int, progress: Progress
) -> None:
    todo = read_parts(store, "images", COLUMNS).map_batches(
        Unembedded(stage.done("image_id")), batch_format="pyarrow", batch_size=None
    )
    embedded = todo.map_batches(
        EmbedPictures,
        fn_constructor_args=(model, workers.torch_threads, workers.batch_size),
        **workers.pool(total),
    )
    write_rows(embedded, stage, total, progress, rows_per_part=workers.rows_per_part)


def kept(images: pa.Table) -> pa.Table:
    """The rows of IMAGES that stand for a picture of their own: fetched, and no duplicate of another."""
    return images.filter(
        pc.and_(pc.equal(images.column("status"), OK), pc.is_null(images.column("duplicate_of")))
    )


class Unembedded:
    """Keeps the kept pictures whose image_id is not in `done`."""

    def __init__(self, done: set[str]) -> None:
        self.done = pa.array(sorted(done), pa.string())

    def __call__(self, images: pa.Table) -> pa.Table:
        rows = kept(images)
        return rows.filter(pc.invert(pc.is_in(rows.column("image_id"), value_set=self.done)))


class EmbedPictures:
    """A Ray actor that holds a model: rows of IMAGES -> EMBEDDINGS rows of those that decode."""

    def __init__(self, model: Model, torch_threads: int, batch_size: int) -> None:
        import torch

        torch.set_num_threads(torch_threads)
        self.encoder, self.label, self.batch_size = model.load(), model.label, batch_size

    def __call__(self, images: pa.Table) -> pa.Table:
        from facap.model.preprocess import decode

        places: list[int] = []
        pictures: list[Image] = []
        for place, data in enumerate(images.column("bytes").to_pylist()):
            try:
                pictures.append(decode(data))
            except OSError:  # damaged after the crawl; the stage counts what is missing
                continue
            places.append(place)
        vectors: list[Any] = []
        for start in range(0, len(pictures), self.batch_size):
            vectors += list(self.encoder.candidates(pictures[start : start + self.batch_size]))
        columns = {name: images.column(name).take(places) for name in COLUMNS[:4]}
        columns["vector"] = pa.array(vectors, type=EMBEDDINGS.field("vector").type)
        columns["model_version"] = pa.array([self.label] * len(places), pa.string())
        return pa.table(columns)


def read_vectors(store: Store, name: str) -> tuple[list[str], np.ndarray]:
    """image_ids, sorted, and their vectors (float32 N x D) of the finished dataset `name`."""
    table = store.read(name, ["image_id", "vector"]).sort_by("image_id")
    return table.column("image_id").to_pylist(), vectors(table)


def vectors(embeddings: pa.Table) -> np.ndarray:
    """The `vector` column of EMBEDDINGS as float32 N x D."""
    column = embeddings.column("vector").combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat.reshape(len(column), -1), dtype=np.float32)
