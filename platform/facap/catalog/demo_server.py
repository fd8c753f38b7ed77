"""Serves the demo catalogue on this machine, faults included: dead links, slow ones, broken pictures.

    with serve_demo(folder, 8765) as url:
        ...                                     # http://127.0.0.1:8765 answers here

The server is a thread of the calling process, so it ends with it whatever ends it. On a cluster
`serve_demo_on_every_node` has the same address answer wherever a crawling worker runs.
"""

import asyncio
import contextlib
import errno
import hashlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from aiohttp import web

from facap.errors import ResourceError

HOST = "127.0.0.1"
SLOW_S = 3.0
KEPT_SHARE = 0.6  # of a truncated picture's bytes
IDENTITY = "/facap-demo"  # answers which folder is being served
PAGE = b"<!doctype html><title>Not available</title><p>This picture is no longer available."


@contextlib.contextmanager
def serve_demo(folder: str, port: int, slow_s: float = SLOW_S) -> Iterator[str]:
    """Serves the demo catalogue in `folder` until the block ends; yields the base URL.

    If a server of the same folder runs on `port` already, that one is used. Raises ResourceError
    if anything else does.
    """
    base = f"http://{HOST}:{port}"
    app = _app(folder, slow_s)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    try:
        loop.run_until_complete(_start(runner, port))
    except OSError as error:
        loop.run_until_complete(runner.cleanup())
        loop.close()
        if error.errno == errno.EADDRINUSE and _served_at(base) == _identity(folder):
            yield base
            return
        raise ResourceError(
            f"the demo catalogue cannot be served on {HOST}:{port} ({error.strerror or error}); "
            "stop what uses the port or set catalog.port to a free one"
        ) from error
    thread = threading.Thread(target=loop.run_forever, name="demo-server", daemon=True)
    thread.start()
    try:
        yield base
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def serve_demo_on_every_node(folder: str, port: int) -> Iterator[str]:
    """As `serve_demo`, by a thread here and by an actor on each other node that is there now."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    start = ray.remote(_NodeServer).options
    with serve_demo(folder, port) as base:
        servers = [
            start(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                folder, port
            )
            for node in others
        ]
        try:
            ray.get([server.url.remote() for server in servers])
            yield base
        finally:
            for server in servers:
                ray.kill(server)


class _NodeServer:
    """The demo's server on one node of a cluster."""

    def __init__(self, folder: str, port: int) -> None:
        self.served = contextlib.ExitStack()
        self.base = self.served.enter_context(serve_demo(folder, port))

    def url(self) -> str:
        return self.base


async def _start(runner: web.AppRunner, port: int) -> None:
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=1024).start()


def _identity(folder: str) -> str:
    return hashlib.sha256(str(Path(folder).resolve()).encode()).hexdigest()[:16]


def _served_at(base: str) -> str | None:
    """The identity that a server answers with; None if it is none of ours."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            base + IDENTITY, timeout=10
        ) as answer:
            return str(answer.read(64).decode("ascii", "replace"))
    except (OSError, ValueError):  # URLError and HTTPException's kin included
        return None


def _app(folder: str, slow_s: float) -> web.Application:
    truth = pq.read_table(Path(folder) / "truth.parquet", columns=["path", "file", "fault"]).to_pylist()
    known = {row["path"]: (row["file"], row["fault"]) for row in truth}

    async def picture(request: web.Request) -> web.Response:
        file, fault = known.get(request.path, (None, "dead"))
        if fault == "dead":
            raise web.HTTPNotFound
        if fault == "slow":
            await asyncio.sleep(slow_s)
        body = (Path(folder) / file).read_bytes()
        if fault == "truncated":
            body = body[: int(len(body) * KEPT_SHARE)]
        if fault == "not_an_image":
            body = PAGE
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        return web.Response(body=body, content_type="image/jpeg", headers={"ETag": etag})

    async def robots(request: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nAllow: /\n")

    async def identity(request: web.Request) -> web.Response:
        return web.Response(text=_identity(folder))

    app = web.Application()
    app.router.add_get("/robots.txt", robots)
    app.router.add_get(IDENTITY, identity)
    app.router.add_get("/images/{name}", picture)
    return app
