"""A local Ray cluster with token authentication, as cluster/local_cluster.sh starts it, and a job on it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from facap.store import Store
from tests.ports import free_ports
from tests.processes import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"


@dataclass(frozen=True)
class Cluster:
    address: str
    token_file: Path
    log: Path


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would reach another Ray or another token."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "FACAP_"))}
    return {**ours, "PATH": f"{BIN}:{ours['PATH']}", **changes}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="fc-", dir="/tmp"))  # short: Ray puts unix sockets below it
    gcs, dashboard, agent, client = free_ports(4)
    started = Cluster(f"http://127.0.0.1:{dashboard}", folder / "token", folder / "head.log")
    command = [
        str(ROOT / "cluster" / "local_cluster.sh"),
        f"--port={gcs}",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--num-cpus=2",
        f"--object-store-memory={200 * 1024**2}",
        f"--temp-dir={folder / 'r'}",
    ]
    with started.log.open("w") as log:
        head = subprocess.Popen(
            command, env=environment(RAY_AUTH_TOKEN_PATH=str(started.token_file)), stdout=log, stderr=log
        )
    try:
        wait_until(lambda: is_up(started), head, started.log, every_s=0.5)
        yield started
    finally:
        family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        for member in family:  # asked politely, Ray takes half a minute
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=PATIENCE_S)
        head.wait(timeout=PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def is_up(cluster: Cluster) -> bool:
    try:
        urllib.request.urlopen(f"{cluster.address}/api/jobs/", timeout=5)
    except urllib.error.HTTPError as error:
        assert error.code == 401  # up, and asking for a token
        return True
    except OSError:
        return False
    raise AssertionError("Ray answers without a token")


def submit(cluster: Cluster, *entrypoint: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "ray"), "job", "submit", "--address", cluster.address]
    return subprocess.run(
        [*command, "--runtime-env", "cluster/runtime_env.yaml", "--", *entrypoint],
        env=environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


WHERE = """
import ray
ray.init()
@ray.remote
def packages():
    import facap, jobs, serve_app, platform
    return [m.__file__ for m in (facap, jobs, serve_app, platform)]
for name, file in zip(("facap", "jobs", "serve_app", "platform"), ray.get(packages.remote())):
    print("imported", name, file)
"""


def test_a_job_of_the_pipeline_runs_on_the_cluster_with_the_code_that_was_sent(
    cluster: Cluster, tmp_path: Path
):
    workspace = tmp_path / "workspace"
    job = f"python -m jobs.build_catalog --workspace {workspace} --catalog.num_products 12"
    done = submit(
        cluster,
        "sh",
        "-c",
        f"{job} && python -c '{WHERE}'",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(cluster.token_file),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr

    store = Store(str(workspace))
    items = store.read("items")
    assert items.num_rows == store.require("items").rows >= 12
    assert "Ray runs on the cluster at" in done.stdout

    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("imported ")]
    files = {name: file for _, name, file in lines}
    sent = str(cluster.token_file.parent / "r")
    assert all(files[name].startswith(sent) for name in ("facap", "jobs", "serve_app")), files
    assert not files["platform"].startswith((sent, str(ROOT / "platform")))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "Missing authentication token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, "Invalid authentication token"),
    ],
    ids=["without a token", "with a wrong token"],
)
def test_submission_without_the_token_is_refused(
    cluster: Cluster, variables: dict[str, str], message: str, tmp_path: Path
):
    proof = tmp_path / "it-ran"
    done = submit(cluster, "touch", str(proof), **variables)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert not proof.exists()


def test_the_rest_interface_refuses_too(cluster: Cluster):
    request = urllib.request.Request(
        f"{cluster.address}/api/jobs/",
        data=b'{"entrypoint": "true"}',
        headers={"content-type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    assert refusal.value.code == 401


def test_the_token_is_readable_by_its_owner_only(cluster: Cluster):
    assert cluster.token_file.stat().st_mode & 0o077 == 0
    assert len(cluster.token_file.read_text()) == 64
