"""Answers that are of no use are asked for again, with a prompt that shows them and says what is wrong.

    for rounds_left, failed in rounds(stage, config, progress):  # at most config.retries times
        again = Again(ask, config, failed, ("item_id",)) # a request for each of their rows
        ...                                              # the engine answers, its rows are written

The rows of `failed` have left the stage, so a kill in a round means that they are asked from the
beginning. A round starts the engine once more. What is of no use after the last one stays a failed row.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from facap.annotate import answer, engine, prompts
from facap.annotate.config import GenerationConfig
from facap.annotate.engine import Refusal, Request
from facap.annotate.origin import rendered_hash, repaired_hash
from facap.progress import Progress
from facap.schemas import from_rows
from facap.store import Stage

_OF_ANY = ("too_long", "empty", "refused", "other_language", "unparsable")  # see answer
FAULTS = (*_OF_ANY, "wrong_category", "forbidden_phrase", "identical", "contradiction")  # see parsing
SHOWN_CHARS = 300  # of an earlier answer: a loop is understood from its beginning


def rounds(
    stage: Stage, config: GenerationConfig, progress: Progress
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """In each round how many may come after it, and the rows whose answers were of no use.

    Ends when there are no such rows, or after `retries`.
    """
    for number in range(1, config.retries + 1):
        failed = take_failed(stage)
        if not failed:
            return
        progress.say(
            f"{len(failed):,} answers of no use are asked for again ({number} of at most {config.retries});"
            f" {engine.starting(config)}"
        )
        yield config.retries - number, failed


def take_failed(stage: Stage) -> list[dict[str, Any]]:
    """Takes the rows out of `stage` that an engine answered with something of no use."""
    assert stage.schema is not None
    rows = [row for part in stage.parts("failed-") for row in stage.read_part(part).to_pylist()]
    failed = [row for row in rows if _was_answered(row)]
    if failed:
        stage.drop_failed()
        stage.write(from_rows([row for row in rows if not _was_answered(row)], stage.schema))
    return failed


def _was_answered(row: dict[str, Any]) -> bool:
    return row["status"] in FAULTS and row["raw"] is not None


class Again:
    """The request `ask` makes for a row, with its earlier answer and the fault of this before it.

    `ids`: the columns by which a row and one of `failed` are the same.
    """

    def __init__(
        self,
        ask: Callable[[dict], Request | Refusal],
        config: GenerationConfig,
        failed: Iterable[dict[str, Any]],
        ids: tuple[str, ...],
    ) -> None:
        self.ask, self.ids, self.prompt = ask, ids, prompts.load(config.repair)
        shown = ("raw", "error", "prompt_tokens", "written_tokens")
        self.failed = {tuple(row[i] for i in ids): {name: row[name] for name in shown} for row in failed}

    def __call__(self, row: dict) -> Request | Refusal:
        earlier = self.failed[tuple(row[name] for name in self.ids)]
        made = self.ask(row)
        if isinstance(made, Refusal):
            return made
        text = answer.clean(earlier["raw"])[:SHOWN_CHARS]
        return replace(
            made,
            prompt=self.prompt.render(prompt=made.prompt, text=text, fault=earlier["error"]),
            rendered_hash=repaired_hash(rendered_hash(made.prompt), self.prompt.hash),
            spent=(earlier["prompt_tokens"] or 0, earlier["written_tokens"] or 0),
        )
