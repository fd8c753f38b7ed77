"""What a stage tells its user: progress while it runs, and one StageReport at its end.

>>> report = StageReport("crawl", rows_in=10, rows_out=9, failures={"http_404": 1}, seconds=2.0)
>>> report.failed
1
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

from facap.quoting import printable

PRINT_EVERY_S = 2.0  # a line every two seconds is seen to move and does not flood a log


@dataclass(frozen=True)
class StageReport:
    """One row of the table that a run ends with."""

    stage: str
    rows_in: int
    rows_out: int
    failures: dict[str, int] = field(default_factory=dict)  # reason -> rows
    seconds: float = 0.0
    reused: bool = False  # nothing had to be done
    note: str = ""

    @property
    def failed(self) -> int:
        """Rows that failed, whatever the reason."""
        return sum(self.failures.values())


class Progress:
    """Prints "<stage>  done/total  rate  remaining time" as work goes on."""

    def __init__(self, stage: str, out: TextIO | None = None) -> None:
        self.stage, self.out = stage, out or sys.stdout
        self.started = time.monotonic()
        self._printed = 0.0
        self._first: int | None = None

    def update(self, done: int, total: int, note: str = "") -> None:
        """Says how far the stage is; prints at most every PRINT_EVERY_S, and at the end."""
        if self._first is None:  # rows from an earlier run do not count for the rate
            self._first, self.started = done, time.monotonic()
        now = time.monotonic()
        if done < total and now - self._printed < PRINT_EVERY_S:
            return
        self._printed = now
        rate = (done - self._first) / max(now - self.started, 1e-3)
        left = f"  {(total - done) / rate:4.0f} s left" if rate > 0 and done < total else ""
        speed = f"  {rate:6.1f}/s" if rate > 0 else ""
        self.say(f"{done:>7,}/{total:,}{speed}{left}{'  ' + note if note else ''}")

    def say(self, text: str) -> None:
        """Prints one line under the stage's name; what is not to be printed in it is escaped."""
        print(f"  {self.stage:<9} {printable(text)}", file=self.out, flush=True)


def table(reports: Iterable[StageReport]) -> str:
    """The stage table: stage, rows in, rows out, failures by reason, seconds."""
    lines = [f"{'stage':<10} {'rows in':>8} {'rows out':>9} {'seconds':>8}  failures by reason"]
    lines.append("-" * 78)
    total = 0.0
    for r in reports:
        reasons = ", ".join(f"{v} {k}" for k, v in sorted(r.failures.items())) or "-"
        note = f"  ({r.note})" if r.note else ""
        seconds = "reused" if r.reused else f"{r.seconds:.1f}"
        lines.append(f"{r.stage:<10} {r.rows_in:>8,} {r.rows_out:>9,} {seconds:>8}  {reasons}{note}")
        total += 0.0 if r.reused else r.seconds
    lines.append(f"{'total':<10} {'':>8} {'':>9} {total:>8.1f}")
    return "\n".join(lines)
