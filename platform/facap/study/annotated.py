"""The training triplets of the drawn garments with texts that models wrote, by the stages of a real run.

    two_stage   written from captions, which the VLM wrote
    one_stage   written from the attributes that the VLM saw, without a caption
    unverified  the texts of two_stage, a fifth of them made wrong
    verified    those of unverified in whose claims verification finds nothing false

    >>> texts = Annotated(store, fine, Annotators())                 # doctest: +SKIP
    >>> texts.rows("two_stage", Progress("study"))                   # as split_rows() gives them

Each way has a workspace of its own below the study's, where a killed stage goes on.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from facap.annotate import caption_pipeline, modify_pipeline
from facap.annotate.config import CaptionConfig, ModifyConfig
from facap.annotate.origin import Origin
from facap.catalog.garments import Garment
from facap.progress import Progress
from facap.schemas import CAPTIONS, IMAGES, OK, PAIRS, TRIPLETS, conform, from_rows
from facap.store import Store, fingerprint, stage_key
from facap.study.corrupted_texts import Pair, corrupt
from facap.train.chosen import left_out
from facap.train.config import TrainConfig
from facap.train.feed import split_rows
from facap.verify import pipeline as verify_pipeline
from facap.verify.config import VerifyConfig

VERSION = 1
CORRUPTED, SEED = 0.2, 0  # share of the texts that are made wrong, and which
LEAST = 1.0  # faithfulness of the texts that are kept
FROM_TAGS = {"output": "attributes", "template": "attributes_plain", "max_tokens": 112}
WRITTEN_FROM_TAGS = {"template": "modify_tags"}


class Annotators(NamedTuple):
    """Who describes pictures, who writes texts and who verifies them."""

    caption: CaptionConfig = CaptionConfig()
    modify: ModifyConfig = ModifyConfig()
    verify: VerifyConfig = VerifyConfig()

    @property
    def label(self) -> str:
        """A hash of the models, their prompts and parameters."""
        made_by = [Origin(config) for config in (self.caption, self.modify, self.verify)]
        return fingerprint(
            [VERSION, *([one.model, one.prompts.hashes(), one.params_hash] for one in made_by)]
        )


@dataclass(frozen=True)
class Annotated:
    """The ways to come by texts, each made when it is first asked for. `fine`: the pictures and pairs."""

    store: Store
    fine: Store
    garments: dict[str, Garment]  # image_id -> what it shows
    by: Annotators = field(default_factory=Annotators)

    def rows(self, way: str, progress: Progress) -> pa.Table:
        """The training triplets with texts of this way."""
        if way == "two_stage":
            return split_rows(self._written(way, progress), "train")
        if way == "one_stage":
            return split_rows(self._written(way, progress, FROM_TAGS, WRITTEN_FROM_TAGS), "train")
        made = self._corrupted(progress)
        if way == "unverified":
            return split_rows(made, "train")
        verify_pipeline.run(made, self.by.verify.model_copy(update={"ranks": False}), progress)
        return split_rows(made, "train", left_out(made, TrainConfig(min_faithfulness=LEAST)))

    def _written(
        self, way: str, progress: Progress, seeing: dict | None = None, writing: dict | None = None
    ) -> Store:
        """TRIPLETS by the caption and the modify stage, `seeing` and `writing` otherwise than set."""
        store = self._workspace(way)
        caption_pipeline.run(store, self.by.caption.model_copy(update=seeing or {}), progress)
        modify_pipeline.run(store, self.by.modify.model_copy(update=writing or {}), progress)
        return store

    def _workspace(self, way: str) -> Store:
        """The pictures and pairs of the training split."""
        store = Store(self.store.path(f"study-{way}"))
        triplets = self.fine.read("triplets", ["reference_id", "target_id", "category", "split"])
        triplets = triplets.filter(pc.equal(triplets["split"], "train"))
        images = self.fine.read("images")
        shown = pa.concat_tables(
            triplets.select([f"{side}_id"]).rename_columns(["id"]) for side in ("reference", "target")
        )
        _put(store, "images", images.filter(pc.is_in(images["image_id"], value_set=shown["id"])), IMAGES)
        pairs = triplets.append_column("similarity", pa.array([1.0] * len(triplets), pa.float32()))
        _put(store, "pairs", pairs.select(PAIRS.names), PAIRS)
        return store

    def _corrupted(self, progress: Progress) -> Store:
        """TRIPLETS of two_stage, some of them wrong, beside the captions that verification reads."""
        written, store = self._written("two_stage", progress), Store(self.store.path("study-unverified"))
        for name, schema in (("images", IMAGES), ("captions", CAPTIONS)):
            _put(store, name, written.read(name), schema)
        rows = [row for row in written.read("triplets").to_pylist() if row["status"] == OK]
        rows.sort(key=lambda row: (row["reference_id"], row["target_id"]))
        pairs = [
            Pair(self.garments[row["reference_id"]], self.garments[row["target_id"]], row["modification"])
            for row in rows
        ]
        texts, _ = corrupt(pairs, CORRUPTED, SEED)
        made = [row | {"modification": text} for row, text in zip(rows, texts, strict=True)]
        _put(store, "triplets", from_rows(made, TRIPLETS), TRIPLETS)
        return store


def _put(store: Store, name: str, table: pa.Table, schema: pa.Schema) -> None:
    """Writes a dataset whole, unless this very one is there."""
    ids = [table.column(column).to_pylist() for column in table.column_names if column != "bytes"]
    stage = store.stage(name, schema, stage_key(f"annotated-{name}", VERSION, fingerprint(ids), {}))
    if not stage.finished():
        for start in range(0, len(table), 1000):
            stage.write(conform(table.slice(start, 1000), schema))
        stage.commit(config={}, inputs={}, expected=len(table))
