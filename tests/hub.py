"""A local cache in the layout of the Hugging Face hub, with the shipped models' files under other names."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from facap.model import checkpoints

FIRST, SECOND = "a" * 40, "b" * 40  # commits


class Hub:
    """What HF_HOME names."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def add(self, name: str, commit: str, shipped: str, **changes: object) -> Path:
        """A snapshot of `name`: the files of `shipped`, `changes` in config.json. main is it then."""
        repo = self.home / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = repo / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (repo / "blobs").mkdir(exist_ok=True)
        for file in Path(checkpoints.resolve(shipped)).iterdir():
            blob = repo / "blobs" / f"{commit[:4]}-{file.name}"
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
        config = json.loads((snapshot / "config.json").read_text())
        (snapshot / "config.json").write_text(json.dumps(config | changes))
        self.point(name, commit)
        return snapshot

    def point(self, name: str, commit: str) -> None:
        """Moves the branch main."""
        refs = self.home / "hub" / f"models--{name.replace('/', '--')}" / "refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text(commit)

    def python(self, code: str, **environment: str) -> str:
        """What `code` prints in a process that looks into this cache, and into nothing else."""
        ours = {"HF_HOME": str(self.home), "HF_HUB_OFFLINE": "1"} | environment
        kept = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HF_TOKEN")}
        done = subprocess.run(
            [sys.executable, "-c", code], env=kept | ours, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip()


@contextlib.contextmanager
def serving(name: str, shipped: str) -> Iterator[tuple[str, list[str]]]:
    """A hub that has the files of `shipped` as `name` at FIRST: its HF_ENDPOINT, and what it was asked."""
    folder = Path(checkpoints.resolve(shipped))
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            file = re.fullmatch(rf"/{name}/resolve/({FIRST}|main)/([^/]+)", path)
            if re.fullmatch(rf"/api/models/{name}(/revision/({FIRST}|main))?", path):
                siblings = [{"rfilename": file} for file in files]
                self.say(200, json.dumps({"id": name, "sha": FIRST, "siblings": siblings}).encode())
            elif re.fullmatch(rf"/api/models/{name}/tree/({FIRST}|main)", path):
                sizes = {file: {"size": len(data), "oid": etag(data)} for file, data in files.items()}
                tree = [{"type": "file", "path": file} | size for file, size in sizes.items()]
                self.say(200, json.dumps(tree).encode())
            elif file and file[2] in files:
                self.say(200, files[file[2]])
            else:
                self.say(404, b"{}", "RepoNotFound" if name not in path else "EntryNotFound")

        def say(self, status: int, data: bytes, error: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", FIRST)
            self.send_header("ETag", f'"{etag(data)}"')
            if error:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def etag(data: bytes) -> str:
    """As the hub names a file's content."""
    return hashlib.sha1(data).hexdigest()
