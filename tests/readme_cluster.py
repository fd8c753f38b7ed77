"""README's section on clusters, typed as it stands there in a copy of the repository, on three nodes."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from facap.store import Store
from tests import processes
from tests.ports import free_ports
from tests.processes import PATIENCE_S
from tests.ray_cluster import Cluster, cluster

ROOT = Path(__file__).resolve().parents[1]
NODES = ("127.0.0.2", "127.0.0.3")  # beside the head
REPLACEMENT = "127.0.0.4"
NODE_CPUS = 3  # the service keeps 1.2 of a node for itself, and an engine and a task want a whole one each
NOT_SENT = shutil.ignore_patterns(".git", ".venv", "workspace*", "__pycache__", "results", ".*_cache")
ENGINE = "vLLMEngineStageUDF"  # in the title of the process that holds the engine


def commands() -> list[str]:
    """The commands of README's section on clusters."""
    section = (ROOT / "README.md").read_text().split("\n## On a cluster\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```\n(.*?)```", section, re.S)
    return [line.split("   #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]


@dataclass
class Run:
    """What the submitted pipeline did."""

    code: int
    output: str
    store: Store
    page: str  # the search page's address
    killed: str  # address of the node that died


def copy_repository(folder: Path) -> Path:
    """A copy in `folder` with a `shop.yaml` of a small demo catalogue: the command needs no change."""
    checkout = folder / "facap"
    shutil.copytree(ROOT, checkout, ignore=NOT_SENT)
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    catalog, serve = free_ports(2)
    settings = {
        "workspace": str(folder / "shop"),
        "serve_after": False,
        "catalog": {"num_products": 60, "port": catalog},
        "crawl": {"batch_size": 32, "num_workers": 2},
        "caption": {"engine": {"rows_per_part": 8, "batch_size": 4, "max_num_seqs": 4}},
        "train": {"batch_size": 16, "epochs": 1},
        "evaluate": {"bootstrap_samples": 100},
        "registry": {"min_gain": -100},
        "serve": {"port": serve},
    }
    (checkout / "shop.yaml").write_text(yaml.safe_dump(settings))
    return checkout


@contextlib.contextmanager
def three_nodes(checkout: Path, **variables: str) -> Iterator[Cluster]:
    """A head without CPUs, started by README's first command, and two nodes; `variables` are set on each."""
    assert commands()[0] == "cluster/local_cluster.sh"
    with cluster(checkout, num_cpus=0, **variables) as running:
        for address in NODES:
            running.add_node(address, NODE_CPUS)
        yield running


def run_pipeline(nodes: Cluster) -> Run:
    """README's second command. While captions are written the engine's node dies and is replaced."""
    command = commands()[1].replace("HEAD:8265", nodes.dashboard)
    assert command.startswith("RAY_AUTH_MODE=token ray job submit ") and "--config shop.yaml" in command
    settings = yaml.safe_load((nodes.checkout / "shop.yaml").read_text())
    workspace = Path(settings["workspace"])
    log = nodes.folder / "job.log"
    with log.open("w") as out:
        job = subprocess.Popen(
            ["sh", "-c", command], cwd=nodes.checkout, env=nodes.shell(), stdout=out, stderr=subprocess.STDOUT
        )
    begun = processes.half_done(workspace, "captions")
    hosts: list[str] = []

    def writing() -> bool:
        if not hosts and (found := nodes.host_of(ENGINE)):
            hosts.append(found)
        return bool(hosts) and begun()

    processes.wait_until(writing, job, log)
    (host,) = hosts
    nodes.kill_node(host)
    assert not (workspace / "captions" / "manifest.json").exists(), "killed too late to disturb anything"
    nodes.add_node(REPLACEMENT, NODE_CPUS)
    code = job.wait(timeout=PATIENCE_S)
    page = f"http://127.0.0.1:{settings['serve']['port']}"
    return Run(code, log.read_text(), Store(str(workspace)), page, host)
