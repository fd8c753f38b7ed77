"""TRIPLETS and IMAGES -> what the ranks train on.

The driver picks rows and lets Ray Data decode every needed picture once (`TrainingData`); a rank holds the
pictures (`Pictures`) and all rows, a few hundred bytes each, and takes its share of every epoch's shuffle.

    >>> data = training_data(store, image_px=128, seed=0, decode_once=True)  # doctest: +SKIP
    >>> data.datasets().keys()
    dict_keys(['train', 'val', 'images'])
"""

import hashlib
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.dataflow import read_parts
from facap.errors import ContractError, StageFailed
from facap.model.preprocess import decode, normalise, square
from facap.schemas import OK
from facap.store import Store
from facap.texts import mixed
from facap.train.chosen import KEY, Key

if TYPE_CHECKING:
    import torch
    from ray.data import DataIterator, Dataset

COLUMNS = ["reference_id", "target_id", "modification", "captions"]
READ_ROWS = 128  # pictures or triplets that a rank reads at a time


@dataclass(frozen=True)
class TrainingData:
    """The rows of both splits, and the pictures they name as a Ray dataset."""

    train: pa.Table
    val: pa.Table
    images: "Dataset"

    def datasets(self) -> dict[str, Any]:
        """For a trainer; each rank reads all of them whole."""
        import ray.data

        return {
            "train": ray.data.from_arrow(self.train),
            "val": ray.data.from_arrow(self.val),
            "images": self.images,
        }


def number(product_id: str) -> int:
    """A product as a number that is the same on every rank, for the loss's mask."""
    return int.from_bytes(hashlib.sha256(product_id.encode()).digest()[:8], "big", signed=True)


def split_rows(store: Store, split: str, left_out: Set[Key] = frozenset()) -> pa.Table:
    """The usable triplets of a split: ids, modification, captions, and the two products as numbers.

    `left_out`: those to do without, by chosen.KEY.

    Raises ContractError if a triplet names a picture that IMAGES does not keep.
    """
    triplets = store.read("triplets", [*dict.fromkeys([*COLUMNS, *KEY]), "split", "status"])
    chosen = pc.and_(pc.equal(triplets["split"], split), pc.equal(triplets["status"], OK))
    rows = triplets.filter(chosen)
    if left_out:
        keys = zip(*(rows[name].to_pylist() for name in KEY), strict=True)
        rows = rows.filter(pa.array([key not in left_out for key in keys], pa.bool_()))
    rows = rows.select(COLUMNS)
    images = store.read("images", ["image_id", "product_id", "status", "duplicate_of"])
    images = images.filter(pc.and_(pc.equal(images["status"], OK), pc.is_null(images["duplicate_of"])))
    ids, names = images["image_id"].to_pylist(), images["product_id"].to_pylist()
    product = {image: number(name) for image, name in zip(ids, names, strict=True)}
    for side in ("reference", "target"):
        wanted = rows[f"{side}_id"].to_pylist()
        lost = [image for image in wanted if image not in product]
        if lost:
            raise ContractError(
                f"TRIPLETS: {len(lost)} rows have a {side}_id that IMAGES does not keep, e.g. '{lost[0]}'; "
                "run the jobs that make captions, pairs and triplets again"
            )
        numbers = pa.array([product[image] for image in wanted], type=pa.int64())
        rows = rows.append_column(f"{side}_product", numbers)
    return rows


def training_data(
    store: Store, image_px: int, decode_once: bool, left_out: Set[Key] = frozenset()
) -> TrainingData:
    """The rows of train (but for those `left_out`) and val, and their pictures, decoded on all CPUs."""
    train, val = split_rows(store, "train", left_out), split_rows(store, "val")
    if len(train) < 2:
        raise StageFailed(
            f"train: TRIPLETS has {len(train)} usable rows of split train, at least 2 are needed; "
            "give a larger catalogue, or a filter that leaves out less"
        )
    used = {i for rows in (train, val) for side in COLUMNS[:2] for i in rows[side].to_pylist()}

    def prepare(batch: pa.Table) -> pa.Table:
        keep = pc.and_(
            pc.is_in(batch["image_id"], value_set=pa.array(used, pa.string())),
            pc.is_null(batch["duplicate_of"]),
        )
        batch = batch.filter(keep)
        data = batch["bytes"].to_pylist()
        if decode_once:
            data = [np.asarray(square(decode(d), image_px)).tobytes() for d in data]
        return pa.table({"image_id": batch["image_id"], "data": pa.array(data, pa.binary())})

    images = read_parts(store, "images", ["image_id", "duplicate_of", "bytes"])
    prepared = images.map_batches(prepare, batch_format="pyarrow", batch_size=None)  # a task a part
    return TrainingData(train, val, prepared.materialize())


class Pictures:
    """The pictures in a rank's memory, in an order that is the same on every rank.

    `cache(states)` replaces the pixels by what the frozen trunk makes of them.
    """

    def __init__(self, images: "DataIterator", image_px: int, decode_once: bool) -> None:
        self.image_px, self.decode_once = image_px, decode_once
        found: dict[str, bytes] = {}
        for batch in cast(Any, images.iter_batches(batch_size=READ_ROWS, batch_format="pyarrow")):
            found |= zip(batch["image_id"].to_pylist(), batch["data"].to_pylist(), strict=True)
        self.ids = sorted(found)
        self.position = {image: i for i, image in enumerate(self.ids)}
        self._data: list[bytes] = [found[image] for image in self.ids]
        self._states: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def pixels(self, positions: list[int]) -> "torch.Tensor":
        """Normalised pixels, B x 3 x image_px x image_px."""
        shape = (self.image_px, self.image_px, 3)
        if self.decode_once:
            arrays = [np.frombuffer(self._data[i], np.uint8).reshape(shape) for i in positions]
        else:
            arrays = [np.asarray(square(decode(self._data[i]), self.image_px)) for i in positions]
        return normalise(np.stack(arrays))

    def cache(self, states_UNE: "torch.Tensor") -> None:
        """Keeps trunk outputs of all pictures, in the order of `ids`, and lets the pixels go."""
        self._states, self._data = states_UNE, []

    @property
    def cached(self) -> bool:
        """Whether `inputs` gives trunk outputs rather than pixels."""
        return self._states is not None

    def inputs(self, positions: list[int]) -> "torch.Tensor":
        """What the model takes for these pictures: trunk outputs if cached, else pixels."""
        return self.pixels(positions) if self._states is None else self._states[positions]


def read_rows(rows: "DataIterator") -> pa.Table:
    """All rows of a dataset, in an order that is the same on every rank."""
    batches = cast(Any, rows.iter_batches(batch_size=READ_ROWS, batch_format="pyarrow"))
    tables = [batch for batch in batches if batch.num_rows]
    if not tables:
        return pa.table({})
    table = pa.concat_tables(tables)
    return table.sort_by([("reference_id", "ascending"), ("target_id", "ascending")])


def epoch_batches(
    rows: pa.Table, batch_size: int, rank: int, ranks: int, seed: list[int], mix_captions: bool = False
) -> Iterator[dict[str, list[Any]]]:
    """A rank's batches of one pass over `rows` in an order of `seed`'s; columns as lists.

    Each step takes the next batch_size * ranks rows of one shuffle of all, so no two ranks share any, and any
    number of ranks takes the same. `mix_captions`: see `texts.mixed`; drawn anew in every pass.
    """
    rng = np.random.default_rng(seed)
    order, draws = rng.permutation(len(rows)), rng.integers(4, size=len(rows))
    for start in range(0, len(rows) - batch_size * ranks + 1, batch_size * ranks):
        first = start + rank * batch_size
        places = order[first : first + batch_size]
        batch = rows.take(places).to_pydict()
        if mix_captions:
            said = zip(batch["captions"], draws[places].tolist(), batch["modification"], strict=True)
            batch["modification"] = [(mixed(c, draw) if c else None) or text for c, draw, text in said]
        yield batch
