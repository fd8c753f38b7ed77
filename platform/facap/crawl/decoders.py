"""Bodies -> pictures in a few threads, several bodies at a time.

    decoders = Decoders(Limits(), num_threads=2)
    picture = await decoders.decode(body)       # DecodeError is raised where there is none

Handing them over one by one wakes the event loop after each, on a core whose caches hold pictures: the loop
took 1.2 ms of CPU a picture then and takes 0.7 now (docs/log.md).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from facap.crawl.decode import Limits, Picture, normalise, use_one_thread

AT_A_TIME = 16  # bodies


class Decoders:
    """The threads and the bodies that wait for them. Belongs to one event loop."""

    def __init__(self, limits: Limits, num_threads: int) -> None:
        use_one_thread()
        self._limits, self._idle, self._num_threads = limits, num_threads, num_threads
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        self._waiting: deque[tuple[bytes, asyncio.Future[Picture]]] = deque()

    def decode(self, body: bytes) -> "asyncio.Future[Picture]":
        """The picture, once a thread has made it; see `normalise`."""
        made = asyncio.get_running_loop().create_future()
        self._waiting.append((body, made))
        if self._idle:
            self._idle -= 1
            self._hand_over()
        return made

    def close(self) -> None:
        """Ends the threads when they have done what they have."""
        self._threads.shutdown()

    def _hand_over(self) -> None:
        share = -(-len(self._waiting) // self._num_threads)
        some = [self._waiting.popleft() for _ in range(min(share, AT_A_TIME))]
        bodies = [body for body, _ in some]
        work = asyncio.get_running_loop().run_in_executor(self._threads, _decoded, bodies, self._limits)
        work.add_done_callback(lambda done: self._take([made for _, made in some], done))

    def _take(
        self,
        all_made: "Sequence[asyncio.Future[Picture]]",
        done: "asyncio.Future[list[Picture | Exception]]",
    ) -> None:
        for made, outcome in zip(all_made, done.result(), strict=True):
            if made.done():  # whoever asked has gone
                continue
            if isinstance(outcome, Exception):
                made.set_exception(outcome)
            else:
                made.set_result(outcome)
        if self._waiting:
            self._hand_over()
        else:
            self._idle += 1


def _decoded(bodies: Sequence[bytes], limits: Limits) -> list[Picture | Exception]:
    outcomes: list[Picture | Exception] = []
    for body in bodies:
        try:
            outcomes.append(normalise(body, limits))
        except Exception as error:
            outcomes.append(error)
    return outcomes
