"""PAIRS + CAPTIONS -> TRIPLETS: an LLM writes what changes from the reference to the target.

    >>> run(store, ModifyConfig(), Progress("modify"))            # doctest: +SKIP
    StageReport(stage='modify', rows_in=4000, rows_out=3900, failures={'identical': 100}, ...)

One row per pair, or two with `both_directions`, the best of its candidates. A pair without both
captions (`caption_missing`) or with equal ones (`identical`) is a failed row that no engine sees;
`engine_error` is a request that the engine refused; what becomes of answers is in parsing.
"""

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from facap.annotate import cache, engine, origin, parsing, repair, repeats, taxonomy
from facap.annotate.candidates import SEED, Copies, best
from facap.annotate.config import ModifyConfig
from facap.annotate.engine import Refusal, Request
from facap.annotate.origin import Origin
from facap.annotate.prompts import Prompts
from facap.annotate.repair import Again
from facap.annotate.report import Meter, failure_limit, finish, reused
from facap.dataflow import write_rows
from facap.progress import Progress, StageReport
from facap.schemas import OK, TRIPLETS, from_rows
from facap.store import Stage, Store

if TYPE_CHECKING:
    from ray.data import Dataset

VERSION = 5
_PAIR = ("reference_id", "target_id", "category", "split")


def key(config: ModifyConfig, pairs: str, captions: str) -> str:
    """The key of the TRIPLETS that `config` makes from the inputs of these fingerprints."""
    return origin.key("modify", VERSION, config, {"pairs": pairs, "captions": captions})


def run(store: Store, config: ModifyConfig, progress: Progress) -> StageReport:
    """Writes the texts that are missing, and commits. Raises StageFailed above max_failure_rate."""
    config = origin.pinned(config)
    inputs = {name: store.fingerprint(name) for name in ("pairs", "captions")}
    stage = store.stage("triplets", TRIPLETS, key(config, **inputs))
    manifest = stage.finished()
    if manifest:
        return reused("modify", manifest)
    meter = Meter(stage, config.engine)
    made_by = Origin(config)
    ask, judge = _Ask(config, made_by.prompts), _Judge(config, made_by)
    pairs = store.read("pairs", list(_PAIR)).to_pylist()
    if config.both_directions:
        pairs += turned(pairs)
    ready, refused = match(_without(pairs, stage), _captions(store))
    if refused:
        stage.write(from_rows([row | made_by.of(row["category"]) for row in refused], TRIPLETS))
    wanted = _Wanted(ready, ask)
    carried = cache.carry_over(store, stage, made_by, wanted, judge.row)
    meter.take_over(carried, progress)
    todo = _without(ready, stage) if carried else ready

    def write(
        pairs_asked: list[dict], ask: Callable[[dict], Request | Refusal], candidates: int, rounds_left: int
    ) -> None:
        limit = failure_limit("modify", stage, config, len(pairs), rounds_left)
        size = max(1, config.engine.rows_per_part // candidates)
        with engine.quiet(), engine.explained("modify"):
            asked = _dataset(pairs_asked, size).flat_map(Copies(candidates))
            answers = engine.generate(asked, config, ask, with_image=False, together=candidates)
            rows = answers.map_batches(judge, batch_format="pyarrow", batch_size=None)
            write_rows(rows, stage, len(pairs), progress, config.engine.rows_per_part, limit)

    if todo:
        progress.say(f"{config.model} writes {len(todo):,} texts; {engine.starting(config)}")
        write(todo, ask, config.candidates, config.retries)
    for rounds_left, failed in repair.rounds(stage, config, progress):
        again = Again(ask, config, failed, ("reference_id", "target_id"))
        write(wanted.of(failed), again, 1, rounds_left)
    repeats.limit(stage, config.max_same_text)
    return finish("modify", stage, config, inputs, len(pairs), meter)


def turned(pairs: list[dict]) -> list[dict]:
    """`pairs` from target to reference, without those that are among `pairs` already."""
    there = {(pair["reference_id"], pair["target_id"]) for pair in pairs}
    return [
        pair | {"reference_id": pair["target_id"], "target_id": pair["reference_id"]}
        for pair in pairs
        if (pair["target_id"], pair["reference_id"]) not in there
    ]


def match(pairs: list[dict], captions: dict[str, dict]) -> tuple[list[dict], list[dict]]:
    """(pairs with both captions, failed TRIPLETS rows for the others); captions: image_id -> its row."""
    ready, refused = [], []
    for pair in pairs:
        reference, target = captions.get(pair["reference_id"]), captions.get(pair["target_id"])
        if reference is None or target is None:
            lacking = pair["reference_id"] if reference is None else pair["target_id"]
            error = f"image {lacking} has no caption"
            refused.append(pair | {"status": "caption_missing", "error": error})
        elif reference["caption"] == target["caption"]:
            error = "reference and target have the same caption: nothing to write"
            refused.append(pair | {"status": "identical", "error": error})
        else:
            told = {"reference_caption": reference["caption"], "target_caption": target["caption"]}
            seen = {
                f"{side}_attributes": row["attributes"]
                for side, row in (("reference", reference), ("target", target))
            }
            ready.append(pair | told | seen)
    return ready, refused


def _without(pairs: list[dict], stage: Stage) -> list[dict]:
    """Those of `pairs` that have no row in `stage` yet."""
    rows = stage.read(["reference_id", "target_id"]).to_pylist()
    done = {(row["reference_id"], row["target_id"]) for row in rows}
    return [pair for pair in pairs if (pair["reference_id"], pair["target_id"]) not in done]


def _captions(store: Store) -> dict[str, dict]:
    """image_id -> its `caption` and `attributes`, as JSON: Arrow would make one record of all names."""
    table = store.read("captions", ["image_id", "caption", "attributes", "status"])
    return {
        row["image_id"]: {"caption": row["caption"], "attributes": json.dumps(row["attributes"] or [])}
        for row in table.to_pylist()
        if row["status"] == OK
    }


def _dataset(rows: list[dict], size: int) -> "Dataset":
    import ray

    return ray.data.from_arrow(
        [pa.Table.from_pylist(rows[start : start + size]) for start in range(0, len(rows), size)]
    )


class _Wanted:
    """Which of `pairs` an earlier text is of, and the prompt that this one has now."""

    def __init__(self, pairs: list[dict], ask: "_Ask") -> None:
        self.pairs = {(pair["reference_id"], pair["target_id"]): pair for pair in pairs}
        self.ask = ask

    def of(self, rows: list[dict]) -> list[dict]:
        """The pairs that `rows` are of."""
        return [self.pairs[row["reference_id"], row["target_id"]] for row in rows]

    def __call__(self, earlier: pa.Table) -> list[cache.Question | None]:
        ids = zip(*(earlier.column(name).to_pylist() for name in ("reference_id", "target_id")), strict=True)
        found = [self.pairs.get(pair) for pair in ids]
        return [None if pair is None else (pair, self.ask.prompt(pair)) for pair in found]


class _Ask:
    """A pair with its captions -> the request for its modification text."""

    def __init__(self, config: ModifyConfig, prompts: Prompts) -> None:
        self.config, self.prompts = config, prompts

    def __call__(self, row: dict) -> Request:
        return Request(dict(row), self.prompt(row), seed=row.get(SEED, 0))

    def prompt(self, row: dict) -> str:
        """What the engine is asked for a pair."""
        return self.prompts.of(row["category"]).render(
            style=self._style(row),
            category=row["category"],
            reference_caption=row["reference_caption"],
            target_caption=row["target_caption"],
            reference_attributes=dict(json.loads(row["reference_attributes"])),
            target_attributes=dict(json.loads(row["target_attributes"])),
        )

    def _style(self, row: dict) -> str:
        digest = hashlib.sha256(f"{row['reference_id']}>{row['target_id']}".encode()).digest()
        return self.config.styles[digest[-1] % len(self.config.styles)]


class _Judge:
    """Answers, all candidates of a pair in one block -> TRIPLETS rows."""

    def __init__(self, config: ModifyConfig, made_by: Origin) -> None:
        self.config, self.made_by = config, made_by

    def __call__(self, answers: pa.Table) -> pa.Table:
        return from_rows(best([self.row(answer) for answer in answers.to_pylist()]), TRIPLETS)

    def row(self, answer: dict[str, Any]) -> dict[str, Any]:
        """One answer as one row."""
        row = {name: answer[name] for name in (*_PAIR, *engine.WRITTEN)}
        row |= self.made_by.of(answer["category"])
        if answer["failure"]:
            return row | {"status": answer["failure"], "error": answer["error"]}
        parsed = parsing.parse_modification(
            answer["raw"],
            answer["reference_caption"],
            answer["target_caption"],
            cut_off=answer["cut_off"],
            max_chars=self.config.max_chars,
            words=taxonomy.load(self.config.taxonomy),
            stated=_stated(answer),
            language=self.config.language,
        )
        return row | {
            "modification": parsed.text,
            "quality": parsed.quality,
            "status": parsed.status,
            "error": parsed.error,
        }


def _stated(row: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]] | None:
    """The attributes of reference and target; None if a caption came without."""
    reference, target = (dict(json.loads(row[f"{side}_attributes"])) for side in ("reference", "target"))
    return (reference, target) if reference and target else None
