"""A local cache in the layout of the Hugging Face hub, with the shipped models' files under other names."""

import json
import os
import shutil
import subprocess
import sys
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
