"""How both annotation stages end: count, hold to the failure limit, commit, report what it took."""

import time
from typing import Any

import pyarrow.compute as pc

from facap.annotate.config import EngineConfig, GenerationConfig
from facap.annotate.origin import label
from facap.annotate.repair import FAULTS
from facap.failures import FailureLimit, check_failures
from facap.progress import Progress, StageReport
from facap.schemas import OK
from facap.store import Manifest, Stage

TOKENS = ("prompt_tokens", "written_tokens")


class Meter:
    """What a run takes, from when this is made: rows that an engine answered, their tokens, seconds, money.

    What an earlier, killed run has written is not counted. The seconds have the engines' start in them.
    """

    def __init__(self, stage: Stage, engine: EngineConfig) -> None:
        self.stage, self.engine, self.started = stage, engine, time.monotonic()
        self.before, self.carried = self._count(), 0

    def take_over(self, rows: int, progress: Progress) -> None:
        """To be told once `rows` rows of the version before are in the stage: no engine answered them now."""
        self.before, self.carried = self._count(), rows
        if rows:
            progress.say(f"{rows:,} rows are taken over from the version before")

    def usage(self) -> dict[str, Any]:
        """rows, prompt_tokens, written_tokens, carried (rows taken over from the version before), seconds,
        tokens_per_s (both kinds), and the cost if known."""
        seconds = time.monotonic() - self.started
        usage: dict[str, Any] = {name: n - self.before[name] for name, n in self._count().items()}
        usage["carried"] = self.carried
        usage |= {
            "seconds": round(seconds, 1),
            "tokens_per_s": round(sum(usage[name] for name in TOKENS) / max(seconds, 1e-3), 1),
        }
        if self.engine.hourly_cost and usage["rows"]:
            cost = self.engine.num_engines * self.engine.hourly_cost * seconds / 3600
            usage["cost_per_thousand"] = round(1000 * cost / usage["rows"], 4)
        return usage

    def _count(self) -> dict[str, int]:
        table = self.stage.read(list(TOKENS))
        counts = {name: pc.sum(table.column(name)).as_py() or 0 for name in TOKENS}
        return {"rows": table.num_rows - table.column(TOKENS[0]).null_count} | counts


def finish(
    name: str, stage: Stage, config: GenerationConfig, inputs: dict[str, str], rows_in: int, meter: Meter
) -> StageReport:
    """Commits `stage`, whose rows are to be `rows_in`, and says what it holds.

    Raises StageFailed above the config's max_failure_rate, ContractError if rows were lost.
    """
    counts = stage.statuses()
    check_failures(name, counts, config.max_failure_rate, stage=stage)
    usage = meter.usage()
    extra = {"usage": usage, "model": label(config)}
    stage.commit(config.model_dump(mode="json"), inputs, extra=extra, expected=rows_in)
    return StageReport(
        stage=name,
        rows_in=rows_in,
        rows_out=counts[OK],
        failures=_failures(counts),
        seconds=time.monotonic() - meter.started,
        note=describe(usage),
    )


def failure_limit(
    name: str, stage: Stage, config: GenerationConfig, total: int, rounds_left: int
) -> FailureLimit:
    """The config's max_failure_rate while rows arrive; what another round asks again has not failed yet."""
    return FailureLimit(name, stage, config.max_failure_rate, total, FAULTS if rounds_left else ())


def describe(usage: dict[str, Any]) -> str:
    """A usage in a few words.

    >>> describe({"prompt_tokens": 1000, "written_tokens": 200, "tokens_per_s": 40.0})
    '1,000 tokens read, 200 written, 40/s'
    """
    words = f"{usage['prompt_tokens']:,} tokens read, {usage['written_tokens']:,} written"
    words += f", {usage['tokens_per_s']:,.0f}/s"
    if usage.get("carried"):
        words += f", {usage['carried']:,} rows taken over"
    if "cost_per_thousand" in usage:
        words += f", {usage['cost_per_thousand']:g} a thousand rows"
    return words


def reused(name: str, manifest: Manifest) -> StageReport:
    """The report of a stage whose result was there already."""
    counts = manifest.counts
    return StageReport(name, manifest.rows, counts.get(OK, 0), _failures(counts), reused=True)


def _failures(counts: dict[str, int]) -> dict[str, int]:
    return {status: rows for status, rows in counts.items() if status != OK}
