"""Photographs from memory over HTTP/1.1 keep-alive, as cheaply as one process can: for measuring crawlers.

    with serving(folder) as server:         # listens on every loopback address
        f"http://127.0.0.7:{server.port}/3/41.jpg"          # photograph 41; the first number is free

It is a process of its own, so that what it costs can be told from what the crawler costs: `server.cpu_s()`.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import uvloop


@dataclass(frozen=True)
class PhotoServer:
    """A running server."""

    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        times = self.process.cpu_times()
        return times.user + times.system


def photos(folder: Path) -> list[Path]:
    """The photographs in the order of their numbers."""
    return sorted(folder.rglob("*.jpg"))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[PhotoServer]:
    """The server for the photographs below `folder`, until the block ends."""
    process = subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield PhotoServer(int(process.stdout.readline()), psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()


class _Answers(asyncio.Protocol):
    """One connection; requests have no body, and are answered in order."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies, self.pending = bodies, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *requests, self.pending = (self.pending + data).split(b"\r\n\r\n")
        for request in requests:
            self.transport.write(self._answer(request))
            if b"connection: close" in request.lower():
                self.transport.close()

    def _answer(self, request: bytes) -> bytes:
        name = request.split(b" ", 2)[1].rpartition(b"/")[2]
        number, _, kind = name.partition(b".")
        if kind == b"jpg" and number.isdigit() and int(number) < len(self.bodies):
            return self.bodies[int(number)]
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


async def _serve(folder: Path) -> None:
    bodies = []
    for number, path in enumerate(photos(folder)):
        body = path.read_bytes()
        head = (
            f'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nETag: "{number}"\r\nContent-Length: {len(body)}'
        )
        bodies.append(head.encode() + b"\r\n\r\n" + body)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answers(bodies), "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
