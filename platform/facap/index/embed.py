"""IMAGES -> EMBEDDINGS: every kept picture through the model, by actors that hold it.

`EmbedPictures` is one such actor: a batch of IMAGES rows in, EMBEDDINGS rows out, one for one. The
pictures were decoded by the crawl, so one that fails here is a defect and stops the stage.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.schemas import EMBEDDINGS, OK

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_COLUMNS = ["image_id", "item_id", "product_id", "category", "status", "duplicate_of", "bytes"]


class ImageEncoder(Protocol):
    """What embedding needs of a model; facap.model.encoder.Encoder is one."""

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        ...

    def candidates(self, images: "list[Image]") -> np.ndarray:
        """float32 B x D, rows of unit length."""
        ...


def load_encoder(folder: str) -> ImageEncoder:
    """The trained model in `folder`."""
    from facap.model.encoder import Encoder

    return Encoder.load(folder)


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
    """One encoder; called with batches of IMAGES rows."""

    def __init__(
        self,
        folder: str,
        model_version: str,
        torch_threads: int,
        load: Callable[[str], ImageEncoder] = load_encoder,
    ) -> None:
        import torch

        torch.set_num_threads(torch_threads)
        self.encoder, self.model_version = load(folder), model_version

    def __call__(self, images: pa.Table) -> pa.Table:
        from facap.model.preprocess import decode

        pictures = [decode(data) for data in images.column("bytes").to_pylist()]
        vectors_BD = self.encoder.candidates(pictures)
        columns = {name: images.column(name) for name in ("image_id", "item_id", "product_id", "category")}
        columns["vector"] = pa.array(list(vectors_BD), type=EMBEDDINGS.field("vector").type)
        columns["model_version"] = pa.array([self.model_version] * len(pictures))
        return pa.table(columns)


def vectors(embeddings: pa.Table) -> np.ndarray:
    """The `vector` column of EMBEDDINGS as float32 N x D."""
    column = embeddings.column("vector").combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat.reshape(len(column), -1), dtype=np.float32)
