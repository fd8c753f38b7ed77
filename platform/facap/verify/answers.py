"""What a VLM says of the pictures of TRIPLETS: from CAPTIONS that were made alike, else asked -> ANSWERS.

    >>> texts = collect(store, config, {"img1": {"colour", "sleeve"}}, progress)     # doctest: +SKIP
    >>> texts["img1"]
    {'colour': 'navy and white', 'sleeve': 'long sleeves'}

With ask="describe" a picture has one text under DESCRIPTION, with ask="attribute" one under each attribute
that a claim needs. Pictures without a usable answer are left out. Each question is asked once, whatever the
number of triplets that need it; a killed run goes on with those that no part holds.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from facap.annotate import engine, parsing, prompts, taxonomy
from facap.annotate.engine import Refusal, Request
from facap.annotate.report import Meter, finish
from facap.annotate.taxonomy import Taxonomy
from facap.dataflow import read_parts, write_rows
from facap.errors import ConfigError
from facap.model import checkpoints
from facap.model.embed import kept
from facap.progress import Progress
from facap.schemas import ANSWERS, OK, from_rows
from facap.store import Store, fingerprint, stage_key
from facap.verify.config import VerifyConfig

VERSION = 1
DESCRIPTION = "description"
Texts = dict[str, dict[str, str]]  # image_id -> attribute, or DESCRIPTION -> what was answered


def made_by(config: VerifyConfig) -> dict[str, str]:
    """What rows say of their origin: the model, the prompt and the sampling, by their content."""
    return {
        "model": checkpoints.label(config.model),
        "prompt_hash": _prompt(config).hash,
        "params_hash": fingerprint(config.sampling_params()),
    }


def collect(store: Store, config: VerifyConfig, needed: Mapping[str, set[str]], progress: Progress) -> Texts:
    """The answers about the pictures `needed` (image_id -> attributes), asked for where none is there."""
    described = config.ask == "describe"
    asked = {image: {DESCRIPTION} if described else attributes for image, attributes in needed.items()}
    texts: Texts = {}
    if described and store.manifest("captions") is not None:
        for row in _captions_alike(store, made_by(config)):
            if asked.pop(row["image_id"], None) and row["status"] == OK:
                texts[row["image_id"]] = {DESCRIPTION: row["caption"]}
    if asked:
        texts |= _ask(store, config, asked, progress)
    return texts


def _captions_alike(store: Store, origin: dict[str, str]) -> list[dict[str, Any]]:
    """The CAPTIONS rows of this origin, failed ones too: the same question would fail again."""
    rows = store.read("captions", ["image_id", "caption", "status", *origin]).to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in origin.items())]


def _ask(store: Store, config: VerifyConfig, asked: dict[str, set[str]], progress: Progress) -> Texts:
    """Has the VLM answer what no part of ANSWERS holds, and commits. StageFailed above max_failure_rate."""
    words = fingerprint(taxonomy.text_of(config.taxonomy))
    questions = sorted((image, attribute) for image in asked for attribute in asked[image])
    inputs = {"images": store.fingerprint("images"), "questions": fingerprint(questions)}
    settings = config.result_settings() | {"made_by": made_by(config), "taxonomy": words}
    stage = store.stage("answers", ANSWERS, stage_key("answers", VERSION, settings, inputs))
    if not stage.finished():
        meter = Meter(stage, config.engine)
        written = {
            (row["image_id"], row["attribute"]) for row in stage.read(["image_id", "attribute"]).to_pylist()
        }
        todo = {image: sorted(a for a in asked[image] if (image, a) not in written) for image in asked}
        todo = {image: attributes for image, attributes in todo.items() if attributes}
        if todo:
            left = sum(map(len, todo.values()))
            progress.say(
                f"{config.model} answers {left:,} questions about {len(todo):,} pictures; {engine.STARTING}"
            )
            with engine.quiet(), engine.explained("verify"):
                images = read_parts(store, "images", _COLUMNS)
                rows = images.map_batches(_Questions(todo), batch_format="pyarrow", batch_size=None)
                answers = engine.generate(rows, config, _Ask(config), with_image=True)
                judged = answers.map_batches(_Judge(config), batch_format="pyarrow", batch_size=None)
                write_rows(judged, stage, len(questions), progress, engine.ROWS_PER_PART)
        finish("verify", stage, config, inputs, len(questions), meter)
    texts: Texts = {}
    for row in store.read("answers", ["image_id", "attribute", "answer", "status"]).to_pylist():
        if row["status"] == OK:
            texts.setdefault(row["image_id"], {})[row["attribute"]] = row["answer"]
    # a picture of which one answer is missing cannot be judged fairly
    return {image: said for image, said in texts.items() if len(said) == len(asked[image])}


def _prompt(config: VerifyConfig) -> prompts.Prompt:
    return prompts.load(config.template if config.ask == "describe" else config.question)


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

    def __init__(self, config: VerifyConfig) -> None:
        self.config, self.prompt = config, _prompt(config)

    def __call__(self, row: dict) -> Request | Refusal:
        from facap.model.preprocess import decode, square

        ids = {name: row[name] for name in ("image_id", "attribute")}
        try:
            image = decode(row["bytes"])
            if self.config.prepare == "square":
                image = square(image, self.config.image_px)
        except (OSError, SyntaxError, ValueError, TypeError) as error:  # what PIL raises on bad bytes
            return Refusal(ids, "undecodable", f"the picture cannot be decoded: {error}")
        values: dict[str, Any] = {"category": row["category"]}
        if self.config.ask == "attribute":
            known = taxonomy.load(self.config.taxonomy).values(row["attribute"])
            values |= {"attribute": row["attribute"], "values": known}
        return Request(ids, self.prompt.render(**values), image)


class _Judge:
    """Answers -> ANSWERS rows."""

    def __init__(self, config: VerifyConfig) -> None:
        self.config, self.made_by = config, made_by(config)

    def __call__(self, answers: pa.Table) -> pa.Table:
        words = taxonomy.load(self.config.taxonomy)
        return from_rows([self.row(answer, words) for answer in answers.to_pylist()], ANSWERS)

    def row(self, answer: dict[str, Any], words: Taxonomy) -> dict[str, Any]:
        """One answer as one row."""
        row = {name: answer[name] for name in ("image_id", "attribute", *engine.WRITTEN)} | self.made_by
        if answer["failure"]:
            return row | {"status": answer["failure"], "error": answer["error"]}
        if self.config.ask == "describe":
            parsed = parsing.parse_caption(
                answer["raw"], cut_off=answer["cut_off"], max_chars=self.config.max_chars, words=words
            )
            return row | {"answer": parsed.text, "status": parsed.status, "error": parsed.error}
        text = parsing.clean(answer["raw"])[: self.config.max_chars]
        if not text:
            return row | {"status": "empty", "error": "the model wrote nothing"}
        return row | {"answer": text, "status": OK}  # one that says nothing of use supports no claim


def asked_as(attribute: str, words: Taxonomy) -> str:
    """The attribute that a question is about: second colours are asked for together with the main one.

    >>> asked_as("second_colour", taxonomy.load())
    'colour'
    """
    return {second: first for first, second in words.seconds.items()}.get(attribute, attribute)


def read(said: Mapping[str, str], words: Taxonomy) -> dict[str, str]:
    """Attribute -> value, as the answers about one picture state them.

    >>> read({"colour": "navy and white", "length": "knee", "closure": "none"}, taxonomy.load())
    {'colour': 'navy', 'second_colour': 'white', 'length': 'knee'}
    """
    found: dict[str, str] = {}
    for asked, text in said.items():
        stated = words.attributes(text)
        if asked == DESCRIPTION:
            found |= stated
            continue
        names = [asked, *filter(None, [words.seconds.get(asked)])]
        found |= {name: stated[name] for name in names if name in stated}
        if asked not in found and all(mention.attribute != asked for mention in words.mentions(text)):
            value = _named(text, words.values(asked))
            found |= {asked: value} if value else {}
    return found


def _named(text: str, values: Iterable[str]) -> str | None:
    """The value that an answer names alone: "knee" says nothing of a length unless a length was asked for."""
    plain = taxonomy.normalise(text)
    places = [
        (match.start(), value)
        for value in values
        if (match := re.search(rf"(?<!\w){re.escape(taxonomy.normalise(value))}(?!\w)", plain))
    ]
    return min(places)[1] if places else None


def check(config: VerifyConfig) -> None:
    """Raises ConfigError for a prompt that cannot be rendered, before anything is started."""
    values: dict[str, Any] = {"category": "dress"}
    if config.ask == "attribute":
        values |= {"attribute": "colour", "values": ["red"]}
    if not _prompt(config).render(**values):
        raise ConfigError("verify: the prompt is empty")
