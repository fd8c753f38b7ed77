"""IMAGES -> CAPTIONS: a VLM describes every kept image, one row each.

    >>> run(store, CaptionConfig(), Progress("caption"))          # doctest: +SKIP
    StageReport(stage='caption', rows_in=4100, rows_out=4100, ...)

Kept means status ok and duplicate_of null. A picture that cannot be decoded (`undecodable`), a
request that the engine refuses (`engine_error`) and an answer that is of no use (see parsing)
become rows with a status and an error.
"""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from facap.annotate import engine, parsing, prompts, taxonomy
from facap.annotate.config import CaptionConfig
from facap.annotate.engine import Refusal, Request
from facap.annotate.report import Meter, finish, reused
from facap.dataflow import read_parts, write_rows
from facap.model import checkpoints
from facap.progress import Progress, StageReport
from facap.schemas import CAPTIONS, OK, from_rows
from facap.store import Store, fingerprint, stage_key

if TYPE_CHECKING:
    from ray.data import Dataset

VERSION = 2
_IDS = ("image_id", "item_id", "product_id", "category")


def key(config: CaptionConfig, images: str) -> str:
    """The key of the CAPTIONS that `config` makes from IMAGES of the fingerprint `images`."""
    words = fingerprint(taxonomy.text_of(config.taxonomy))
    made_by = {"made_by": _made_by(config), "taxonomy": words}
    return stage_key("caption", VERSION, config.result_settings() | made_by, {"images": images})


def run(store: Store, config: CaptionConfig, progress: Progress) -> StageReport:
    """Captions what is not captioned yet, and commits. Raises StageFailed above max_failure_rate."""
    inputs = {"images": store.fingerprint("images")}
    stage = store.stage("captions", CAPTIONS, key(config, inputs["images"]))
    manifest = stage.finished()
    if manifest:
        return reused("caption", manifest)
    meter = Meter(stage, config.engine)
    kept = keep(store.read("images", ["item_id", "status", "duplicate_of"]))
    todo = set(kept.column("item_id").to_pylist()) - stage.done("item_id")
    if todo:
        progress.say(f"{config.model} describes {len(todo):,} images; {engine.STARTING}")
        with engine.quiet(), engine.explained("caption"):
            answers = engine.generate(read_images(store, todo), config, _Ask(config), with_image=True)
            rows = answers.map_batches(_Judge(config), batch_format="pyarrow", batch_size=None)
            write_rows(rows, stage, kept.num_rows, progress, engine.ROWS_PER_PART)
    return finish("caption", stage, config, inputs, kept.num_rows, meter)


def keep(images: pa.Table) -> pa.Table:
    """The rows of IMAGES that are captioned: fetched, and no duplicate of another row."""
    fetched = pc.equal(images.column("status"), OK)
    return images.filter(pc.and_(fetched, pc.is_null(images.column("duplicate_of"))))


def read_images(store: Store, item_ids: set[str]) -> "Dataset":
    """Ids and bytes of the IMAGES rows `item_ids`."""
    wanted = pa.array(sorted(item_ids), pa.string())

    def only_wanted(batch: pa.Table) -> pa.Table:
        return batch.filter(pc.is_in(batch.column("item_id"), value_set=wanted))

    images = read_parts(store, "images", [*_IDS, "bytes"])
    return images.map_batches(only_wanted, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)


def _made_by(config: CaptionConfig) -> dict[str, str]:
    """What rows say of their origin: the model, the prompt and the sampling, by their content."""
    return {
        "model": checkpoints.label(config.model),
        "prompt_hash": prompts.load(config.template).hash,
        "params_hash": fingerprint(config.sampling_params()),
    }


class _Ask:
    """A row of IMAGES -> the request for its caption."""

    def __init__(self, config: CaptionConfig) -> None:
        self.config, self.prompt = config, prompts.load(config.template)

    def __call__(self, row: dict) -> Request | Refusal:
        from facap.model.preprocess import decode, square

        ids = {name: row[name] for name in _IDS}
        try:
            image = decode(row["bytes"])
            if self.config.prepare == "square":
                image = square(image, self.config.image_px)
        except (OSError, SyntaxError, ValueError, TypeError) as error:  # what PIL raises on bad bytes
            return Refusal(ids, "undecodable", f"the picture cannot be decoded: {error}")
        return Request(ids, self.prompt.render(category=row["category"]), image)


class _Judge:
    """Answers -> CAPTIONS rows."""

    def __init__(self, config: CaptionConfig) -> None:
        self.config, self.made_by = config, _made_by(config)

    def __call__(self, answers: pa.Table) -> pa.Table:
        words = taxonomy.load(self.config.taxonomy)
        return from_rows([self.row(answer, words) for answer in answers.to_pylist()], CAPTIONS)

    def row(self, answer: dict[str, Any], words: taxonomy.Taxonomy) -> dict[str, Any]:
        """One answer as one row."""
        row = {name: answer[name] for name in (*_IDS, *engine.WRITTEN)} | self.made_by
        if answer["failure"]:
            return row | {"status": answer["failure"], "error": answer["error"]}
        parsed = parsing.parse_caption(
            answer["raw"], cut_off=answer["cut_off"], max_chars=self.config.max_chars, words=words
        )
        attributes = parsed.attributes if parsed.status == OK else None
        return row | {
            "caption": parsed.text,
            "attributes": attributes,
            "status": parsed.status,
            "error": parsed.error,
        }
