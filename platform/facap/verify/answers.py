"""What a VLM says of the pictures of TRIPLETS: from CAPTIONS that were made alike, else asked -> ANSWERS.

    >>> texts = collect(store, config, {"img1": {"colour", "sleeve"}}, progress)     # doctest: +SKIP
    >>> texts["img1"]
    {'colour': 'navy and white', 'sleeve': 'long sleeves'}

With ask="describe" a picture has one text under DESCRIPTION, with ask="attribute" one under each attribute
that a claim needs. Pictures without a usable answer are left out. Each question is asked once, whatever the
number of triplets that need it; a killed run goes on with those that no part holds.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from facap.annotate import answer as answers
from facap.annotate import caption_pipeline, engine
from facap.annotate.answer import Fault
from facap.annotate.engine import Refusal, Request
from facap.annotate.report import TOKENS, Meter, failure_limit, finish
from facap.dataflow import read_parts, write_rows
from facap.model.embed import kept
from facap.progress import Progress
from facap.schemas import ANSWERS, OK, from_rows
from facap.store import Store, fingerprint, stage_key
from facap.verify.config import VerifyConfig
from facap.verify.origin import COLUMNS as ORIGIN
from facap.verify.origin import Origin
from facap.verify.reading import DESCRIPTION

VERSION = 2
Texts = dict[str, dict[str, str]]  # image_id -> attribute, or DESCRIPTION -> what was answered


def key(config: VerifyConfig, inputs: dict[str, str]) -> str:
    """The key of the ANSWERS that `config` makes from inputs of these fingerprints."""
    settings = config.result_settings() | Origin(config).by_content()
    return stage_key("answers", VERSION, settings, inputs)


def collect(store: Store, config: VerifyConfig, needed: Mapping[str, set[str]], progress: Progress) -> Texts:
    """The answers about the pictures `needed` (image_id -> attributes), asked for where none is there."""
    described = config.ask == "describe"
    asked = {image: {DESCRIPTION} if described else attributes for image, attributes in needed.items()}
    texts: Texts = {}
    if described and store.manifest("captions") is not None:
        for row in _captions_alike(store, Origin(config)):
            if asked.pop(row["image_id"], None) and row["status"] == OK:
                texts[row["image_id"]] = {DESCRIPTION: row["caption"]}
    if asked:
        texts |= _ask(store, config, asked, progress)
    return texts


def _captions_alike(store: Store, origin: Origin) -> list[dict[str, Any]]:
    """The CAPTIONS rows of this origin, failed ones too: the same question would fail again."""
    rows = store.read("captions", ["image_id", "category", "caption", "status", *ORIGIN]).to_pylist()
    alike = {category: origin.of(category) for category in {row["category"] for row in rows}}
    return [row for row in rows if all(row[name] == alike[row["category"]][name] for name in ORIGIN)]


def _ask(store: Store, config: VerifyConfig, asked: dict[str, set[str]], progress: Progress) -> Texts:
    """Has the VLM answer what no part of ANSWERS holds, and commits. StageFailed above max_failure_rate."""
    questions = sorted((image, attribute) for image in asked for attribute in asked[image])
    if not questions:
        return {image: {} for image in asked}
    inputs = {"images": store.fingerprint("images"), "questions": fingerprint(questions)}
    stage = store.stage("answers", ANSWERS, key(config, inputs))
    if not stage.finished():
        meter, origin = Meter(stage, config.engine), Origin(config)
        written = {
            (row["image_id"], row["attribute"]) for row in stage.read(["image_id", "attribute"]).to_pylist()
        }
        todo = {image: sorted(a for a in asked[image] if (image, a) not in written) for image in asked}
        todo = {image: attributes for image, attributes in todo.items() if attributes}
        if todo:
            left = sum(map(len, todo.values()))
            progress.say(
                f"{config.model} answers {left:,} questions about {len(todo):,} pictures; "
                + engine.starting(config)
            )
            with engine.quiet(), engine.explained("verify"):
                images = read_parts(store, "images", _COLUMNS)
                rows = images.map_batches(_Questions(todo), batch_format="pyarrow", batch_size=None)
                answers = engine.generate(rows, config, _Ask(origin), with_image=True)
                judged = answers.map_batches(_Judge(origin), batch_format="pyarrow", batch_size=None)
                limit = failure_limit("verify", stage, config, len(questions), rounds_left=0)
                write_rows(judged, stage, len(questions), progress, config.engine.rows_per_part, limit)
        finish("verify", stage, config, inputs, _about_kept(store, questions), meter)
    texts: Texts = {}
    for row in store.read("answers", ["image_id", "attribute", "answer", "status"]).to_pylist():
        if row["status"] == OK:
            texts.setdefault(row["image_id"], {})[row["attribute"]] = row["answer"]
    # A picture of which one answer is missing cannot be judged fairly; of some nothing had to be asked.
    return {image: texts.get(image, {}) for image in asked if len(texts.get(image, {})) == len(asked[image])}


def _about_kept(store: Store, questions: list[tuple[str, str]]) -> int:
    """How many of the questions are about a picture that IMAGES has; about others none can be put."""
    images = kept(store.read("images", ["image_id", "status", "duplicate_of"]))
    there = set(images.column("image_id").to_pylist())
    return sum(image in there for image, _ in questions)


_ASKED = ("image_id", "category", "attribute")
_COLUMNS = ["image_id", "category", "status", "duplicate_of", "bytes"]


class _Questions:
    """Parts of IMAGES -> a row for each question about a kept picture."""

    def __init__(self, todo: dict[str, list[str]]) -> None:
        self.todo = todo

    def __call__(self, batch: pa.Table) -> pa.Table:
        images = kept(batch)
        ids = images.column("image_id").to_pylist()
        pairs = [(row, name) for row, image in enumerate(ids) for name in self.todo.get(image, ())]
        rows = images.select(["image_id", "category", "bytes"]).take([row for row, _ in pairs])
        return rows.append_column("attribute", pa.array([name for _, name in pairs], pa.string()))


class _Ask:
    """A question -> the request for its answer."""

    def __init__(self, origin: Origin) -> None:
        self.origin, self.config = origin, origin.config

    def __call__(self, row: dict) -> Request | Refusal:
        prompt = self.origin.ask(row["category"], row["attribute"])
        return engine.about_picture(row["bytes"], self.config, {name: row[name] for name in _ASKED}, prompt)


class _Judge:
    """Answers -> ANSWERS rows."""

    def __init__(self, origin: Origin) -> None:
        self.origin, self.config = origin, origin.config

    def __call__(self, answers: pa.Table) -> pa.Table:
        return from_rows([self.row(answer) for answer in answers.to_pylist()], ANSWERS)

    def row(self, answer: dict[str, Any]) -> dict[str, Any]:
        """One answer as one row."""
        row = {name: answer[name] for name in ("image_id", "attribute", "raw", *TOKENS)}
        row |= self.origin.of(answer["category"])
        if answer["failure"]:
            return row | {"status": answer["failure"], "error": answer["error"]}
        if self.config.ask == "describe":
            parsed = caption_pipeline.parse(answer, self.config)
            return row | {"answer": parsed.text, "status": parsed.status, "error": parsed.error}
        text = answers.read(
            answer["raw"],
            max_chars=self.config.max_chars,
            cut_off=answer["cut_off"],
            language=self.config.language,
        )
        if isinstance(text, Fault):
            return row | {"status": text.status, "error": text.error}
        return row | {"answer": text, "status": OK}  # one that says nothing of use supports no claim
