"""PAIRS + CAPTIONS -> TRIPLETS: an LLM writes what changes from the reference to the target.

    >>> run(store, ModifyConfig(), Progress("modify"))            # doctest: +SKIP
    StageReport(stage='modify', rows_in=4000, rows_out=3900, failures={'identical': 100}, ...)

One row per pair. A pair without both captions (`caption_missing`) or with equal ones (`identical`)
is a failed row that no engine sees; `engine_error` is a request that the engine refused; what
becomes of answers is in parsing.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from facap.annotate import engine, parsing, prompts, taxonomy
from facap.annotate.config import ModifyConfig
from facap.annotate.engine import Refusal, Request
from facap.annotate.report import Meter, finish, reused
from facap.dataflow import write_rows
from facap.model import checkpoints
from facap.progress import Progress, StageReport
from facap.schemas import OK, TRIPLETS, from_rows
from facap.store import Store, fingerprint, stage_key

if TYPE_CHECKING:
    from ray.data import Dataset

VERSION = 2
_PAIR = ("reference_id", "target_id", "category", "split")


def key(config: ModifyConfig, pairs: str, captions: str) -> str:
    """The key of the TRIPLETS that `config` makes from the inputs of these fingerprints."""
    words = fingerprint(taxonomy.text_of(config.taxonomy))
    made_by = {"made_by": _made_by(config), "taxonomy": words}
    inputs = {"pairs": pairs, "captions": captions}
    return stage_key("modify", VERSION, config.result_settings() | made_by, inputs)


def run(store: Store, config: ModifyConfig, progress: Progress) -> StageReport:
    """Writes the texts that are missing, and commits. Raises StageFailed above max_failure_rate."""
    inputs = {name: store.fingerprint(name) for name in ("pairs", "captions")}
    stage = store.stage("triplets", TRIPLETS, key(config, **inputs))
    manifest = stage.finished()
    if manifest:
        return reused("modify", manifest)
    meter = Meter(stage, config.engine)
    pairs = store.read("pairs", list(_PAIR)).to_pylist()
    written = stage.read(["reference_id", "target_id"]).to_pylist()
    done = {(row["reference_id"], row["target_id"]) for row in written}
    todo = [pair for pair in pairs if (pair["reference_id"], pair["target_id"]) not in done]
    made_by = _made_by(config)
    ready, refused = match(todo, _captions(store))
    if refused:
        stage.write(from_rows([row | made_by for row in refused], TRIPLETS))
    if ready:
        progress.say(f"{config.model} writes {len(ready):,} texts; {engine.STARTING}")
        with engine.quiet(), engine.explained("modify"):
            answers = engine.generate(_dataset(ready), config, _Ask(config), with_image=False)
            rows = answers.map_batches(_Judge(config, made_by), batch_format="pyarrow", batch_size=None)
            write_rows(rows, stage, len(pairs), progress, engine.ROWS_PER_PART)
    return finish("modify", stage, config, inputs, len(pairs), meter)


def match(pairs: list[dict], captions: dict[str, str]) -> tuple[list[dict], list[dict]]:
    """(pairs with both captions, failed TRIPLETS rows for the others); captions: image_id -> text."""
    ready, refused = [], []
    for pair in pairs:
        reference, target = captions.get(pair["reference_id"]), captions.get(pair["target_id"])
        if reference is None or target is None:
            lacking = pair["reference_id"] if reference is None else pair["target_id"]
            error = f"image {lacking} has no caption"
            refused.append(pair | {"status": "caption_missing", "error": error})
        elif reference == target:
            error = "reference and target have the same caption: nothing to write"
            refused.append(pair | {"status": "identical", "error": error})
        else:
            ready.append(pair | {"reference_caption": reference, "target_caption": target})
    return ready, refused


def _captions(store: Store) -> dict[str, str]:
    table = store.read("captions", ["image_id", "caption", "status"])
    return {row["image_id"]: row["caption"] for row in table.to_pylist() if row["status"] == OK}


def _dataset(rows: list[dict]) -> "Dataset":
    import ray

    size = engine.ROWS_PER_PART
    return ray.data.from_arrow(
        [pa.Table.from_pylist(rows[start : start + size]) for start in range(0, len(rows), size)]
    )


def _made_by(config: ModifyConfig) -> dict[str, str]:
    """What rows say of their origin: the model, the prompt and the sampling, by their content."""
    return {
        "model": checkpoints.label(config.model),
        "prompt_hash": prompts.load(config.template).hash,
        "params_hash": fingerprint(config.sampling_params()),
    }


class _Ask:
    """A pair with its captions -> the request for its modification text."""

    def __init__(self, config: ModifyConfig) -> None:
        self.config, self.prompt = config, prompts.load(config.template)

    def __call__(self, row: dict) -> Request | Refusal:
        words = taxonomy.load(self.config.taxonomy)
        prompt = self.prompt.render(
            style=self._style(row),
            category=row["category"],
            reference_caption=row["reference_caption"],
            target_caption=row["target_caption"],
            reference_attributes=words.attributes(row["reference_caption"]),
            target_attributes=words.attributes(row["target_caption"]),
        )
        return Request(dict(row), prompt)

    def _style(self, row: dict) -> str:
        digest = hashlib.sha256(f"{row['reference_id']}>{row['target_id']}".encode()).digest()
        return self.config.styles[digest[-1] % len(self.config.styles)]


class _Judge:
    """Answers -> TRIPLETS rows."""

    def __init__(self, config: ModifyConfig, made_by: dict[str, str]) -> None:
        self.config, self.made_by = config, made_by

    def __call__(self, answers: pa.Table) -> pa.Table:
        words = taxonomy.load(self.config.taxonomy)
        return from_rows([self.row(answer, words) for answer in answers.to_pylist()], TRIPLETS)

    def row(self, answer: dict[str, Any], words: taxonomy.Taxonomy) -> dict[str, Any]:
        """One answer as one row."""
        row = {name: answer[name] for name in (*_PAIR, *engine.WRITTEN)} | self.made_by
        if answer["failure"]:
            return row | {"status": answer["failure"], "error": answer["error"]}
        parsed = parsing.parse_modification(
            answer["raw"],
            answer["reference_caption"],
            answer["target_caption"],
            cut_off=answer["cut_off"],
            max_chars=self.config.max_chars,
            words=words,
        )
        return row | {
            "modification": parsed.text,
            "quality": parsed.quality,
            "status": parsed.status,
            "error": parsed.error,
        }
