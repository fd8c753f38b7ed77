"""Politeness measured where it counts, at the server: loopback hosts of skewed sizes, several workers.

    figures = measure(store, zipf(20, 300), CrawlConfig(...))      # Ray must be up
    figures["violations"], figures["time_ratio"]

The server is a process of its own that notes between when and when each request came, and when it was
answered. It says when it sees a request, which after a pause of its own is late, so a pulse tells since
when it may have been there: at most 15 ms before on a machine that lets the server run, longer if not. A
host's limits are exceeded if any second (or 1/rate, if that is longer) has certainly seen more requests
than the rate allows, or if more are under way at once than `max_connections_per_host`. Ideal is the time
that the largest host needs at exactly its rate: no crawl that keeps the limits can be quicker.
"""

import asyncio
import contextlib
import io
import json
import signal
import subprocess
import sys
import time
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from facap.crawl import pipeline
from facap.crawl.config import CrawlConfig
from facap.progress import Progress
from facap.schemas import ITEMS, from_rows
from facap.store import Store, fingerprint

ANSWER_S = 0.03  # what a picture takes the server, so that requests do overlap
PULSE_S = 0.005


def zipf(num_hosts: int, largest: int) -> list[int]:
    """Pictures per host: the n-th host has a n-th of the largest's."""
    return [max(1, largest // n) for n in range(1, num_hosts + 1)]


def measure(store: Store, sizes: Sequence[int], config: CrawlConfig) -> dict[str, Any]:
    """Crawls `sizes[n]` pictures of host 127.0.0.<n+1> into `store`; returns what the server saw.

    `time_ratio` is from the first request to the last answer over the ideal, `wall_ratio` the whole
    stage's, start of the workers included. `closest_s`: the shortest time in which the server saw one
    request of a host more than it may in a second; `longest_pause_s`: how long the server itself slept.
    """
    log = Path(store.path("requests.json"))
    with serving(log) as port:
        write_items(store, [f"127.0.0.{n}:{port}" for n in range(1, len(sizes) + 1)], sizes)
        started = time.monotonic()
        report = pipeline.run(store, config, Progress("crawl", io.StringIO()))
        wall_s = time.monotonic() - started
    assert report.rows_in == sum(sizes) and not report.failures, report
    requests = json.loads(log.read_text())
    ideal_s = max(sizes) / config.max_rate_per_host
    took_s = max(end for _, _, _, end in requests) - min(start for _, _, start, _ in requests)
    per_host: dict[str, list[tuple[float, float, float]]] = {}
    for host, earliest, start, end in requests:
        per_host.setdefault(host, []).append((earliest, start, end))
    assert len(per_host) == len(sizes)
    allowed = max(1, int(config.max_rate_per_host))
    starts = [sorted(start for _, start, _ in times) for times in per_host.values()]
    seen = [
        excess(times, config.max_rate_per_host, config.max_connections_per_host)
        for times in per_host.values()
    ]
    return {
        "hosts": len(sizes),
        "requests": len(requests),
        "violations": sum(violations for violations, _, _ in seen),
        "most_in_a_window": max(most for _, most, _ in seen),
        "closest_s": round(min(b - a for s in starts for a, b in zip(s, s[allowed:], strict=False)), 3),
        "longest_pause_s": round(max(start - earliest for _, earliest, start, _ in requests), 3),
        "most_at_once": max(at_once for _, _, at_once in seen),
        "ideal_s": round(ideal_s, 2),
        "time_ratio": round(took_s / ideal_s, 3),
        "wall_ratio": round(wall_s / ideal_s, 3),
    }


def excess(
    times: Sequence[tuple[float, float, float]], rate: float, connections: int
) -> tuple[int, int, int]:
    """Requests to one host that came too soon or too many; the most in a window, and at once.

    Each is (earliest, latest, end): it came between the first two and was answered at the third.

    >>> excess([(t, t, end) for t, end in ((0, 0.1), (0.4, 0.9), (0.8, 0.9), (1.3, 1.4))], 2, connections=1)
    (3, 3, 2)
    """
    seen, came = sorted(latest for _, latest, _ in times), sorted(earliest for earliest, _, _ in times)
    window_s, allowed = max(1.0, 1 / rate), max(1, int(rate * max(1.0, 1 / rate)))
    # those seen by then, but for those that may have come before the window
    counts = [n - bisect_right(came, latest - window_s) for n, latest in enumerate(seen, start=1)]
    most, violations = max(counts, default=0), sum(count > allowed for count in counts)
    now = at_once = 0
    for _, change in sorted([*((start, 1) for _, start, _ in times), *((end, -1) for _, _, end in times)]):
        now += change
        at_once = max(at_once, now)
        violations += change > 0 and now > connections
    return violations, most, at_once


def write_items(
    store: Store, hosts: Sequence[str], sizes: Sequence[int], kinds: Sequence[str] = ("picture",)
) -> None:
    """Commits ITEMS: `sizes[n]` addresses of `hosts[n]`, of all `kinds` (picture, moved, missing) in turn."""
    rows = [
        {
            "item_id": f"{host}-{number:05}",
            "product_id": f"{host}-{number:05}",
            "category": "dress",
            "url": f"http://{host}/{kinds[number % len(kinds)]}/{number}.jpg",
            "source": "polite_hosts",
        }
        for host, size in zip(hosts, sizes, strict=True)
        for number in range(size)
    ]
    stage = store.stage("items", ITEMS, fingerprint([list(hosts), list(sizes), list(kinds)]))
    stage.write(from_rows(rows, ITEMS))
    stage.commit({}, {})


@contextlib.contextmanager
def serving(log: Path) -> Iterator[int]:
    """The server on every loopback address; yields its port, and writes `log` when the block ends."""
    process = subprocess.Popen([sys.executable, __file__, str(log)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise RuntimeError(f"the server ended with code {process.returncode}")
    finally:
        process.kill()
        process.wait()


async def serve(log: Path) -> None:
    """Answers until SIGTERM, then writes [host, earliest, seen, end] of each request.

    A path gives a picture of its own, but /moved/... a redirect to host 127.0.0.1, /missing/... and
    robots.txt nothing.
    """
    from aiohttp import web
    from PIL import Image

    requests: list[tuple[str, float, float, float]] = []
    # A handler runs one turn of the loop after its request was read, and a due pulse comes between.
    pulses = deque([time.monotonic()], maxlen=3)

    async def pulse() -> None:
        while True:
            pulses.append(time.monotonic())
            await asyncio.sleep(PULSE_S)

    async def answer(request: web.Request) -> web.Response:
        earliest, start = pulses[0], time.monotonic()
        response = web.Response(status=404)
        if request.path.startswith("/moved/"):
            response = web.Response(
                status=302,
                headers={"Location": f"http://127.0.0.1:{request.url.port}/picture/{request.host}.jpg"},
            )
        elif request.path.startswith("/picture/"):
            await asyncio.sleep(ANSWER_S)
            colour = tuple(zlib.crc32(request.path.encode()).to_bytes(4, "big")[:3])
            out = io.BytesIO()
            Image.new("RGB", (64, 64), colour).save(out, "JPEG")
            response = web.Response(body=out.getvalue(), headers={"ETag": f'"{colour}"'})
        requests.append((request.url.host or "", earliest, start, time.monotonic()))
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    beating = asyncio.create_task(pulse())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(runner.addresses[0][1], flush=True)
    await stop.wait()
    beating.cancel()
    await runner.cleanup()
    log.write_text(json.dumps(requests))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
