"""How both annotation stages end: count, hold to the failure limit, commit, report."""

import time
from collections import Counter

from facap.annotate.config import GenerationConfig
from facap.progress import StageReport, check_failures
from facap.schemas import OK
from facap.store import Manifest, Stage


def finish(
    name: str, stage: Stage, config: GenerationConfig, inputs: dict[str, str], rows_in: int, started: float
) -> StageReport:
    """Commits `stage` and says what it holds. Raises StageFailed above the config's max_failure_rate."""
    counts = Counter(stage.read(["status"]).column("status").to_pylist())
    check_failures(name, dict(counts), config.max_failure_rate)
    stage.commit(config=config.model_dump(mode="json"), inputs=inputs)
    return StageReport(
        stage=name,
        rows_in=rows_in,
        rows_out=counts[OK],
        failures=_failures(counts),
        seconds=time.monotonic() - started,
    )


def reused(name: str, manifest: Manifest) -> StageReport:
    """The report of a stage whose result was there already."""
    counts = manifest.counts
    return StageReport(name, manifest.rows, counts.get(OK, 0), _failures(counts), reused=True)


def _failures(counts: dict[str, int]) -> dict[str, int]:
    return {status: rows for status, rows in counts.items() if status != OK}
