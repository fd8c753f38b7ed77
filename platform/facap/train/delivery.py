"""A thread that hands on records in their order, and survives what it hands them to.

    >>> delivery = Delivery("MLflow", since, calls, progress.say)                   # doctest: +SKIP
    >>> delivery.start()                                                            # doctest: +SKIP
    >>> delivery.finish(300.0, [partial(client.set_terminated, run_id)])            # doctest: +SKIP
    True

`since(n)` gives the records from number n on, `calls(records)` the calls that hand them on. Calls are made
one after the other. One that fails is made again, the very same, after a pause that doubles: while the other
side does not answer, as long as it takes; where it answers and refuses, TRIES times, then it is left out.
Records stay where they come from until then, so an outage takes no memory.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

Record = tuple[str, dict[str, Any]]
Call = Callable[[], object]

POLL_S = 1.0  # a record is handed on within this time
TRIES = 5
LONGEST_S = 30.0  # between two tries


class Delivery:
    """Hands on from `start` to `finish`. `to`: whom, for messages; `say`: where they go."""

    def __init__(
        self,
        to: str,
        since: Callable[[int], list[Record]],
        calls: Callable[[list[Record]], Iterable[Call]],
        say: Callable[[str], None],
    ) -> None:
        self.to, self.since, self.calls, self.say = to, since, calls, say
        self._read = 0
        self._calls: deque[Call] = deque()
        self._last: list[Call] = []
        self._done = False
        self._until = float("inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"train-{to}", daemon=True)

    def start(self) -> None:
        """Starts the thread, which ends with the process if nobody calls `finish`."""
        self._thread.start()

    def step(self) -> bool:
        """Hands on what there is; whether there was anything. Raises what a call raises, and keeps it."""
        if not self._calls:
            records = self.since(self._read)
            if not records:
                return False
            self._calls.extend(self.calls(records))
            self._read += len(records)
        while self._calls:
            self._calls[0]()
            self._calls.popleft()
        return True

    def finish(self, wait_s: float, last: Iterable[Call] = ()) -> bool:
        """Hands on what is left, makes the calls `last`, and says whether all of it was done in `wait_s`."""
        self._last, self._until = list(last), time.monotonic() + wait_s
        self._closing.set()
        self._thread.join(wait_s)
        return self._done

    def _run(self) -> None:
        tries = 0
        while True:
            closing = self._closing.is_set()
            try:
                found = self.step()
            except Exception as error:
                tries += 1
                if tries >= TRIES and self._calls and not is_outage(error):
                    self._tell(f"{self.to} refuses a record ({_short(error)}); it is left out")
                    self._calls.popleft()
                    tries = 0
                elif tries >= TRIES and not self._calls and closing:  # what is left to do can be done
                    self._tell(f"the last records for {self.to} cannot be read ({_short(error)})")
                    self.since, tries = _nothing, 0
                elif not self._tries_again(error, tries):
                    return
                continue
            if tries:
                self._tell(f"{self.to} answers again; what it had missed is there now")
                tries = 0
            if not closing:
                self._closing.wait(POLL_S)
            elif self._last:
                self._calls.extend(self._last)
                self._last = []
            elif not found:
                self._done = True
                return

    def _tries_again(self, error: Exception, tries: int) -> bool:
        """Says what happened, once, and pauses; False where it is too late."""
        if tries == 1:
            self._tell(f"{self.to} fails ({_short(error)}); training goes on, and what is missing follows")
        pause = min(LONGEST_S, 2.0 ** min(tries - 1, 10))
        if self._closing.is_set():
            time.sleep(max(0.0, min(pause, self._until - time.monotonic())))
        else:
            self._closing.wait(pause)
        return time.monotonic() < self._until

    def _tell(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a screen that was closed must not end this
            self.say(text)


def _nothing(first: int) -> list[Record]:
    return []


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


def is_outage(error: Exception) -> bool:
    """Whether MLflow, or what is between, does not answer; False where it answers and refuses."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() >= 500 or error.get_http_status_code() == 429
    return isinstance(error, OSError)
