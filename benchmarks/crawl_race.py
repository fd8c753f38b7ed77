"""The crawl job against img2dataset: one server, the same addresses, the same size and quality of pictures.

    race = Race(folder, photos, passes=12)
    race.ours(), race.peer()            # Run: seconds, CPU seconds, pictures stored

Both run as processes of their own, one after the other. Their CPU is that of the process and all its
descendants, so the server's is not in it. `seconds` is of the job's stage and of the peer's download(): both
start their workers within it, neither the imports of the main process. `command_seconds` has everything.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.photo_server import PhotoServer
from facap.schemas import ITEMS, OK, from_rows
from facap.store import Store

HOSTS = 20
LONGEST_SIDE, QUALITY = 256, 95
PEER = "img2dataset==1.47.0"
PEER_HOME = Path.home() / ".cache" / "facap" / "img2dataset"
PEER_THREADS = 32  # for each of its processes; 16 to 256 were tried, all within 5 % of each other
PEER_SCRIPT = """
import json, sys, time
from img2dataset import download
if __name__ == "__main__":
    started = time.monotonic()
    download(
        url_list=sys.argv[1], output_folder=sys.argv[2], input_format="txt", output_format="parquet",
        image_size=int(sys.argv[3]), resize_mode="keep_ratio_largest", resize_only_if_bigger=True,
        encode_quality=int(sys.argv[4]), encode_format="jpg", processes_count=int(sys.argv[5]),
        thread_count=int(sys.argv[6]), number_sample_per_shard=int(sys.argv[7]),
    )
    print(json.dumps({"seconds": time.monotonic() - started}))
"""
ENVIRONMENT = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}  # a library of the peer's would ask the network


@dataclass(frozen=True)
class Run:
    """What one crawler took for `num_images`."""

    num_images: int
    seconds: float
    command_seconds: float
    cpu_s: float
    server_cpu_s: float
    peak_bytes: int  # memory of its own, all processes together

    @property
    def images_per_s(self) -> float:
        """Of wall time."""
        return self.num_images / self.seconds

    @property
    def cpu_ms(self) -> float:
        """An image."""
        return 1000 * self.cpu_s / self.num_images


class Race:
    """`passes` times the photographs of `server`, spread over HOSTS loopback addresses."""

    def __init__(self, folder: Path, server: PhotoServer, num_photos: int, passes: int) -> None:
        self.folder, self.server, self.cores = folder, server, len(os.sched_getaffinity(0))
        self.started, self.last = 0, dict[str, Path]()
        numbers = [(turn, photo) for turn in range(passes) for photo in range(num_photos)]
        self.urls = [
            f"http://127.0.0.{1 + place % HOSTS}:{server.port}/{turn}/{photo}.jpg"
            for place, (turn, photo) in enumerate(numbers)
        ]

    def ours(self) -> Run:
        """The job, with every check on."""
        workspace = self._folder("ours")
        store = Store(str(workspace))
        rows = [
            {"item_id": f"{n:06}", "product_id": f"{n:06}", "category": "top", "url": url, "source": "race"}
            for n, url in enumerate(self.urls)
        ]
        stage = store.stage("items", ITEMS, "race")
        stage.write(from_rows(rows, ITEMS))
        stage.commit({}, {})
        settings = {
            "allow_networks": '["127.0.0.0/8"]', "max_rate_per_host": 0, "max_connections_per_host": 32,
            "longest_side": LONGEST_SIDE, "jpeg_quality": QUALITY, "num_workers": self.cores,
            "decode_threads": 1,
        }  # fmt: skip
        flags = [word for name, value in settings.items() for word in (f"--crawl.{name}", str(value))]
        command = [sys.executable, "-m", "jobs.crawl_images", "--workspace", str(workspace)]
        run = self._timed([*command, "--catalog.manifest", "race", *flags], workspace)
        (stage_row,) = json.loads((workspace / "logs" / "stages.json").read_text())
        stored = store.require("images").counts
        return self._checked(run, stored.get(OK, 0), stage_row["seconds"])

    def peer(self) -> Run:
        """img2dataset, resizing as we do and writing Parquet as we do."""
        folder = self._folder("peer")
        addresses = folder / "urls.txt"
        addresses.write_text("\n".join(self.urls) + "\n")
        script = folder / "peer.py"
        script.write_text(PEER_SCRIPT)
        shard = -(-len(self.urls) // (6 * self.cores))  # six for each process: none waits long for the last
        numbers = (LONGEST_SIDE, QUALITY, self.cores, PEER_THREADS, shard)
        command = [str(peer_python()), str(script), str(addresses), str(folder / "out"), *map(str, numbers)]
        run = self._timed(command, folder)
        tables = [pq.read_table(path, columns=["status"]) for path in (folder / "out").glob("*.parquet")]
        stored = sum(table.column("status").to_pylist().count("success") for table in tables)
        return self._checked(
            run, stored, json.loads((folder / "out.log").read_text().splitlines()[-1])["seconds"]
        )

    @property
    def num_images(self) -> int:
        """Addresses of one run."""
        return len(self.urls)

    @property
    def stored_bytes(self) -> int:
        """What the last run of ours takes on disk."""
        return sum(path.stat().st_size for path in (self.last["ours"] / "images").rglob("*.parquet"))

    def stored_by_us(self, numbers: Iterable[int]) -> list[bytes]:
        """Pictures of the last run, by the place of their address."""
        rows = Store(str(self.last["ours"])).read("images", ["url", "bytes"]).to_pylist()
        found = {row["url"]: row["bytes"] for row in rows}
        return [found[self.urls[number]] for number in numbers]

    def stored_by_peer(self, numbers: Iterable[int]) -> list[bytes]:
        """Pictures of its last run, by the place of their address."""
        found: dict[str, bytes] = {}
        for path in (self.last["peer"] / "out").glob("*.parquet"):
            found |= {
                row["url"]: row["jpg"] for row in pq.read_table(path, columns=["url", "jpg"]).to_pylist()
            }
        return [found[self.urls[number]] for number in numbers]

    def _folder(self, name: str) -> Path:
        if name in self.last:
            shutil.rmtree(self.last[name])
        self.started += 1
        self.last[name] = self.folder / f"{self.started}-{name}"
        self.last[name].mkdir()
        return self.last[name]

    def _timed(self, command: list[str], folder: Path) -> "_Watched":
        before = self.server.cpu_s()
        with (folder / "out.log").open("w") as out:
            started = time.monotonic()
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=ENVIRONMENT)
            watched = _Watched(process.pid)
            code = process.wait()
            watched.command_seconds = time.monotonic() - started
        watched.stop()
        watched.server_cpu_s = self.server.cpu_s() - before
        if code:
            said = (folder / "out.log").read_text()[-2000:]
            raise RuntimeError(f"{command[0]} ended with code {code}: {said}")
        return watched

    def _checked(self, run: "_Watched", stored: int, seconds: float) -> Run:
        if stored != len(self.urls):
            raise RuntimeError(f"{stored} of {len(self.urls)} pictures were stored; nothing can be compared")
        return Run(stored, seconds, run.command_seconds, run.cpu_s, run.server_cpu_s, run.peak_bytes)


class _Watched:
    """CPU and memory of a process and its descendants, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self.command_seconds = self.server_cpu_s = 0.0
        self.peak_bytes = 0
        self._cpu: dict[tuple[int, float], float] = {}
        self._root, self._done = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            memory = 0
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return
            for process in family:
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
                    memory += process.memory_info().rss - process.memory_info().shared
                except psutil.Error:
                    continue  # it has just ended
            self.peak_bytes = max(self.peak_bytes, memory)


def peer_python() -> Path:
    """The interpreter of the peer's own environment, which is made if need be."""
    python = PEER_HOME / "bin" / "python"
    if not (PEER_HOME / "installed").exists():
        venv.create(PEER_HOME, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
        (PEER_HOME / "installed").touch()
    return python
