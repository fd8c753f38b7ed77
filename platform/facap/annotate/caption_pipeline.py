"""IMAGES -> CAPTIONS: a VLM describes every kept image, one row each.

    >>> run(store, CaptionConfig(), Progress("caption"))          # doctest: +SKIP
    StageReport(stage='caption', rows_in=4100, rows_out=4100, ...)

Kept means status ok and duplicate_of null. A picture that cannot be decoded (`undecodable`), a
request that the engine refuses (`engine_error`) and an answer that is of no use (see parsing)
become rows with a status and an error.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from facap.annotate import cache, engine, origin, parsing, repair, structured, taxonomy
from facap.annotate.config import CaptionConfig
from facap.annotate.engine import Refusal, Request
from facap.annotate.origin import Origin
from facap.annotate.prompts import Prompt, Prompts
from facap.annotate.repair import Again
from facap.annotate.report import Meter, failure_limit, finish, reused
from facap.dataflow import read_parts, write_rows
from facap.progress import Progress, StageReport
from facap.schemas import CAPTIONS, OK, from_rows
from facap.store import Store

if TYPE_CHECKING:
    from ray.data import Dataset

VERSION = 5
_IDS = ("image_id", "item_id", "product_id", "category")


def key(config: CaptionConfig, images: str) -> str:
    """The key of the CAPTIONS that `config` makes from IMAGES of the fingerprint `images`."""
    return origin.key("caption", VERSION, config, {"images": images})


def run(store: Store, config: CaptionConfig, progress: Progress) -> StageReport:
    """Captions what is not captioned yet, and commits. Raises StageFailed above max_failure_rate."""
    config = origin.pinned(config)
    inputs = {"images": store.fingerprint("images")}
    stage = store.stage("captions", CAPTIONS, key(config, inputs["images"]))
    manifest = stage.finished()
    if manifest:
        return reused("caption", manifest)
    meter = Meter(stage, config.engine)
    made_by = Origin(config)
    judge = _Judge(config, made_by)
    kept = keep(store.read("images", [*_IDS, "status", "duplicate_of"]))
    ask = _Ask(config, made_by.prompts)
    wanted = _Wanted(_without(kept, stage.done("item_id")), ask)
    meter.take_over(cache.carry_over(store, stage, made_by, wanted, judge.row), progress)
    todo = set(_without(kept, stage.done("item_id")).column("item_id").to_pylist())

    def describe(item_ids: set[str], ask: Callable[[dict], Request | Refusal], rounds_left: int) -> None:
        limit = failure_limit("caption", stage, config, kept.num_rows, rounds_left)
        with engine.quiet(), engine.explained("caption"):
            answers = engine.generate(read_images(store, item_ids), config, ask, with_image=True)
            rows = answers.map_batches(judge, batch_format="pyarrow", batch_size=None)
            write_rows(rows, stage, kept.num_rows, progress, config.engine.rows_per_part, limit)

    if todo:
        progress.say(f"{config.model} describes {len(todo):,} images; {engine.starting(config)}")
        describe(todo, ask, config.retries)
    for rounds_left, failed in repair.rounds(stage, config, progress):
        again = Again(ask, config, failed, ("item_id",))
        describe({row["item_id"] for row in failed}, again, rounds_left)
    return finish("caption", stage, config, inputs, kept.num_rows, meter)


def keep(images: pa.Table) -> pa.Table:
    """The rows of IMAGES that are captioned: fetched, and no duplicate of another row."""
    fetched = pc.equal(images.column("status"), OK)
    return images.filter(pc.and_(fetched, pc.is_null(images.column("duplicate_of"))))


def _without(images: pa.Table, item_ids: set[str]) -> pa.Table:
    done = pa.array(sorted(item_ids), pa.string())
    return images.filter(pc.invert(pc.is_in(images.column("item_id"), value_set=done)))


def read_images(store: Store, item_ids: set[str]) -> "Dataset":
    """Ids and bytes of the IMAGES rows `item_ids`."""
    wanted = pa.array(sorted(item_ids), pa.string())

    def only_wanted(batch: pa.Table) -> pa.Table:
        return batch.filter(pc.is_in(batch.column("item_id"), value_set=wanted))

    images = read_parts(store, "images", [*_IDS, "bytes"])
    return images.map_batches(only_wanted, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)


def describe(prompt: Prompt, category: str, config: CaptionConfig) -> str:
    """`prompt` for a picture of this category; it may name the attributes and their values."""
    words = taxonomy.load(config.taxonomy)
    return prompt.render(category=category, attributes={name: words.values(name) for name in words.names()})


def parse(answer: dict[str, Any], config: CaptionConfig) -> parsing.Parsed:
    """What the answer of an engine says of a picture, as `config` has it written."""
    read = structured.parse if config.output == "attributes" else parsing.parse_caption
    words = taxonomy.load(config.taxonomy)
    return read(
        answer["raw"],
        cut_off=answer["cut_off"],
        max_chars=config.max_chars,
        words=words,
        category=answer["category"] if config.check_category else "",
        language=config.language,
    )


class _Wanted:
    """Which of `images` an earlier caption is of, and the prompt that this one has now."""

    def __init__(self, images: pa.Table, ask: "_Ask") -> None:
        self.images, self.ask = images.select(_IDS), ask
        self.places = {image_id: n for n, image_id in enumerate(images.column("image_id").to_pylist())}

    def __call__(self, earlier: pa.Table) -> list[cache.Question | None]:
        found = [self.places.get(image_id) for image_id in earlier.column("image_id").to_pylist()]
        images = self.images.take(pa.array(found, pa.int64())).to_pylist()
        return [
            None if place is None else (image, self.ask.prompt(image["category"]))
            for place, image in zip(found, images, strict=True)
        ]


class _Ask:
    """A row of IMAGES -> the request for its caption."""

    def __init__(self, config: CaptionConfig, prompts: Prompts) -> None:
        self.config, self.prompts = config, prompts

    def __call__(self, row: dict) -> Request | Refusal:
        keep = {name: row[name] for name in _IDS}
        return engine.about_picture(row["bytes"], self.config, keep, self.prompt(row["category"]))

    def prompt(self, category: str) -> str:
        """What the engine is asked about a picture of this category."""
        return describe(self.prompts.of(category), category, self.config)


class _Judge:
    """Answers -> CAPTIONS rows."""

    def __init__(self, config: CaptionConfig, made_by: Origin) -> None:
        self.config, self.made_by = config, made_by

    def __call__(self, answers: pa.Table) -> pa.Table:
        return from_rows([self.row(answer) for answer in answers.to_pylist()], CAPTIONS)

    def row(self, answer: dict[str, Any]) -> dict[str, Any]:
        """One answer as one row."""
        row = {name: answer[name] for name in (*_IDS, *engine.WRITTEN, "confidence")}
        row |= self.made_by.of(answer["category"])
        if answer["failure"]:
            return row | {"status": answer["failure"], "error": answer["error"]}
        parsed = parse(answer, self.config)
        attributes = parsed.attributes if parsed.status == OK else None
        return row | {
            "caption": parsed.text,
            "attributes": attributes,
            "status": parsed.status,
            "error": parsed.error,
        }
