"""A Ray cluster with token authentication on this machine: a head by cluster/local_cluster.sh, and nodes.

Every node has an address and a folder of its own: with a shared one they delete each other's copies of what a
job brought along. As in `cluster/raycluster.yaml` a head with other nodes runs no tasks.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from facap import environment as ours
from tests.ports import free_ports
from tests.processes import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[1]


def environment(checkout: Path, **changes: str) -> dict[str, str]:
    """The environment of a fresh shell: nothing that a job should say itself, or that reaches another Ray."""
    said = ("RAY_", "FACAP_", "VLLM_", "HF_", "MLFLOW_", "PYTHON", *ours.VARIABLES)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(said)}
    return {**kept, "PATH": f"{checkout / '.venv' / 'bin'}:{kept['PATH']}", **changes}


@dataclass
class Cluster:
    """A running head; `nodes` are its other raylets' `ray start --block` processes by their addresses."""

    checkout: Path
    folder: Path
    dashboard: str  # host:port
    gcs: str
    head: subprocess.Popen
    variables: dict[str, str]  # of every node, as a pod's `env`
    nodes: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def token_file(self) -> Path:
        """Where the token lies."""
        return self.folder / "token"

    def shell(self, **changes: str) -> dict[str, str]:
        """The environment in which a job is submitted."""
        return environment(self.checkout, RAY_AUTH_TOKEN_PATH=str(self.token_file), **changes)

    def add_node(self, address: str, num_cpus: int) -> None:
        """Starts a node and waits until it has joined."""
        log = self.folder / f"{address}.log"
        command = [
            *("ray", "start", "--block", f"--address={self.gcs}", f"--node-ip-address={address}"),
            *(f"--temp-dir={self.folder / address}", f"--num-cpus={num_cpus}", "--disable-usage-stats"),
            *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={200 * 1024**2}"),
        ]
        with log.open("w") as out:
            self.nodes[address] = subprocess.Popen(
                command,
                env=self.shell(
                    RAY_AUTH_MODE="token",
                    RAY_agent_register_timeout_ms="120000",
                    HF_HOME=str(self.folder / f"{address}-models"),  # a machine's own
                    **self.variables,
                ),
                cwd=self.checkout,
                stdout=out,
                stderr=out,
            )
        wait_until(lambda: "Ray runtime started" in log.read_text(), self.nodes[address], log, every_s=0.2)

    def host_of(self, actor: str) -> str | None:
        """The address of the node that runs an actor whose process title holds `actor`."""
        for address, node in self.nodes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(node.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if actor in " ".join(process.cmdline()):
                            return address
        return None

    def kill_node(self, address: str) -> None:
        """SIGKILL to everything of a node at once, as a machine dies."""
        kill(self.nodes.pop(address))

    def stop(self) -> None:
        """Ends all of it; asked politely, Ray takes half a minute."""
        for process in (*self.nodes.values(), self.head):
            kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to a process and all that it started."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        head = psutil.Process(process.pid)
        family = [head, *head.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=PATIENCE_S)
    process.wait(timeout=PATIENCE_S)


@contextlib.contextmanager
def cluster(checkout: Path = ROOT, num_cpus: int = 2, **variables: str) -> Iterator[Cluster]:
    """A head of `checkout` with the token that it made; nodes are added to it. Gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="fc-", dir="/tmp"))  # short: Ray puts unix sockets below it
    gcs, dashboard, agent, client = free_ports(4)
    command = [
        str(checkout / "cluster" / "local_cluster.sh"),
        *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--ray-client-server-port={client}", "--min-worker-port=0", "--max-worker-port=0"),
        *(
            f"--num-cpus={num_cpus}",
            f"--object-store-memory={200 * 1024**2}",
            f"--temp-dir={folder / 'head'}",
        ),
    ]
    log = folder / "head.log"
    with log.open("w") as out:
        head = subprocess.Popen(
            command,
            env=environment(
                checkout,
                RAY_AUTH_TOKEN_PATH=str(folder / "token"),
                HF_HOME=str(folder / "head-models"),
                **variables,
            ),
            stdout=out,
            stderr=out,
        )
    made = Cluster(checkout, folder, f"127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", head, variables)
    try:
        wait_until(lambda: asks_for_a_token(made.dashboard), head, log, every_s=0.2)
        yield made
    finally:
        made.stop()


def asks_for_a_token(dashboard: str) -> bool:
    """Whether the dashboard is up; without a token it answers 401."""
    try:
        urllib.request.urlopen(f"http://{dashboard}/api/jobs/", timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return False
