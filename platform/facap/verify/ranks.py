"""Where the trained model ranks each triplet's target: retrieval consistency.

    >>> ranker = open_ranker(store)                                          # doctest: +SKIP
    >>> place_targets(store, ranker, triplets, config, Progress("verify"))   # doctest: +SKIP

As in the evaluation, a query is the reference picture with the text, its gallery every kept picture of the
category but the reference, and a tie counts against the target. All splits are ranked; of a triplet that the
model was trained on the rank says more about memory than about the text.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.evaluate.embed import Asked, embed_queries
from facap.evaluate.metrics import find
from facap.model import checkpoints
from facap.model.embed import TRAINED, Workers, vectors
from facap.progress import Progress
from facap.store import Store
from facap.verify.config import VerifyConfig


@dataclass(frozen=True)
class Ranker:
    """The trained model of a workspace, whose EMBEDDINGS are there."""

    folder: str
    label: str


def open_ranker(store: Store) -> Ranker | None:
    """The workspace's `model`; None if there is none, or if EMBEDDINGS are not of it and these IMAGES."""
    there = all(store.manifest(name) for name in ("model", TRAINED, "images"))
    if not there or not store.is_local:
        return None
    folder = store.folder("model")
    label = checkpoints.weights_hash(folder)
    inputs = {"images": store.fingerprint("images"), "model": label}
    return Ranker(folder, label) if store.require(TRAINED).inputs == inputs else None


def place_targets(
    store: Store, ranker: Ranker | None, triplets: pa.Table, config: VerifyConfig, progress: Progress
) -> pa.Table:
    """`triplets` with rank, gallery_size and ranked_by; null where there is no model or no such picture."""
    found: dict[int, tuple[int, int]] = {}
    if ranker is not None:
        galleries = _galleries(store)
        queries = _Queries(triplets, galleries)
        workers = Workers(num_actors=config.num_workers, batch_size=config.batch_size)
        for numbers, queries_QD, _ in embed_queries(store, ranker.folder, queries.asked, workers):
            found |= queries.ranks(numbers, queries_QD)
            progress.update(len(found), queries.total, "targets ranked")
    places = [found.get(row, (None, None)) for row in range(triplets.num_rows)]
    label = ranker.label if ranker is not None else None
    columns = {
        "rank": pa.array([rank for rank, _ in places], pa.int32()),
        "gallery_size": pa.array([size for _, size in places], pa.int32()),
        "ranked_by": pa.array([label if rank else None for rank, _ in places], pa.string()),
    }
    for name, column in columns.items():
        triplets = triplets.append_column(name, column)
    return triplets


@dataclass(frozen=True)
class _Gallery:
    row_of: dict[str, int]
    vectors_GD: np.ndarray


def _galleries(store: Store) -> dict[str, _Gallery]:
    """The embedded pictures of each category, by image_id."""
    table = store.read(TRAINED, ["image_id", "category", "vector"]).sort_by("image_id")
    galleries = {}
    for category in pc.unique(table.column("category")).to_pylist():
        mine = table.filter(pc.equal(table.column("category"), category))
        ids = mine.column("image_id").to_pylist()
        galleries[category] = _Gallery({image: row for row, image in enumerate(ids)}, vectors(mine))
    return galleries


class _Queries:
    """The triplets whose two pictures are in the gallery of their category."""

    def __init__(self, triplets: pa.Table, galleries: dict[str, _Gallery]) -> None:
        self.galleries = galleries
        self.asked: Asked = {}  # by row
        self.places: dict[int, tuple[str, int, int]] = {}  # row -> category, reference, target
        names = ("category", "reference_id", "target_id", "modification")
        columns = (triplets.column(name).to_pylist() for name in names)
        for row, (category, reference, target, text) in enumerate(zip(*columns, strict=True)):
            rows = galleries[category].row_of if category in galleries else {}
            if reference in rows and target in rows and reference != target:
                self.places[row] = (category, rows[reference], rows[target])
                self.asked.setdefault(reference, []).append((row, text))

    @property
    def total(self) -> int:
        """Triplets that are ranked."""
        return len(self.places)

    def ranks(self, numbers: list[int], queries_QD: np.ndarray) -> dict[int, tuple[int, int]]:
        """Row -> rank and gallery size, for some of the triplets and their vectors."""
        found: dict[int, tuple[int, int]] = {}
        for category in sorted({self.places[number][0] for number in numbers}):
            mine = [i for i, number in enumerate(numbers) if self.places[number][0] == category]
            gallery_GD = self.galleries[category].vectors_GD
            references, targets = (np.array([self.places[numbers[i]][side] for i in mine]) for side in (1, 2))
            ranks = find(queries_QD[mine], gallery_GD, references, targets).ranks
            size = len(gallery_GD) - 1
            found |= {numbers[i]: (int(rank), size) for i, rank in zip(mine, ranks, strict=True)}
        return found
