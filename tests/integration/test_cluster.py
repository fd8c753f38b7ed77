"""README's cluster command, as it stands there, on three nodes with a token; one of them dies meanwhile.

The whole pipeline is submitted for a small demo catalogue. The node that runs the vLLM engine gets SIGKILL
while captions are written, and another joins in its place: what comes out is what an undisturbed run writes.
"""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from facap.model import checkpoints
from facap.store import Store
from tests import hub
from tests.processes import PATIENCE_S
from tests.ray_cluster import Cluster
from tests.readme_cluster import Run, copy_repository, run_pipeline, three_nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE_S)]
ROOT = Path(__file__).resolve().parents[2]
HUB_MODEL = "someone/captioner"
WEIGHTS = checkpoints.content("facap/tiny-captioner")
STAGES = ("catalog", "crawl", "caption", "pairs", "modify", "train", "evaluate", "promote", "index", "serve")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with a `shop.yaml`."""
    return copy_repository(tmp_path_factory.mktemp("user"))


@dataclass(frozen=True)
class ServedHub:
    """A hub that has one model, and the paths that it was asked for."""

    url: str
    asked: list[str]


@pytest.fixture(scope="module")
def served_hub() -> Iterator[ServedHub]:
    with hub.serving(HUB_MODEL, "facap/tiny-captioner") as (url, asked):
        yield ServedHub(url, asked)


@pytest.fixture(scope="module")
def nodes(checkout: Path, served_hub: ServedHub) -> Iterator[Cluster]:
    """The cluster of README's first command, and two nodes; all of them reach the hub."""
    with three_nodes(checkout, HF_ENDPOINT=served_hub.url) as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(nodes: Cluster) -> Run:
    """README's second command, while a node dies."""
    return run_pipeline(nodes)


def submit(nodes: Cluster, *entrypoint: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit` of anything else, from the same folder."""
    command = ["ray", "job", "submit", "--address", f"http://{nodes.dashboard}"]
    return subprocess.run(
        [*command, "--runtime-env", "cluster/runtime_env.yaml", "--", *entrypoint],
        env=nodes.shell(**variables),
        cwd=nodes.checkout,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_every_stage_is_done_and_every_row_is_there(pipeline: Run, served_hub: ServedHub):
    assert pipeline.code == 0, pipeline.output
    assert served_hub.asked == []  # the shipped models need none
    assert "succeeded" in pipeline.output and "Ray runs on the cluster at" in pipeline.output
    store = pipeline.store
    reports = json.loads(Path(store.path("logs", "stages.json")).read_text())
    assert tuple(report["stage"] for report in reports) == STAGES
    items = store.read("items", ["item_id"]).column(0).to_pylist()
    images = store.read("images", ["item_id", "image_id", "status", "duplicate_of"]).to_pylist()
    assert sorted(row["item_id"] for row in images) == sorted(items)
    kept = [row["image_id"] for row in images if row["status"] == "ok" and row["duplicate_of"] is None]
    assert sorted(store.read("captions", ["image_id"]).column(0).to_pylist()) == sorted(kept)
    keys = ["reference_id", "target_id"]
    pairs, triplets = (store.read(name, keys).to_pylist() for name in ("pairs", "triplets"))
    assert sorted(map(str, pairs)) == sorted(map(str, triplets))
    assert store.require("model").extra["ranks"] == 2


def test_the_service_answers_after_the_job(pipeline: Run):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{pipeline.page}/api/catalog?limit=1", timeout=PATIENCE_S) as answer:
        (item,) = json.load(answer)["items"]
    body = json.dumps({"reference_id": item["image_id"], "text": "in red", "k": 5}).encode()
    asked = urllib.request.Request(
        f"{pipeline.page}/api/search", data=body, headers={"Content-Type": "application/json"}
    )
    with opener.open(asked, timeout=PATIENCE_S) as answer:
        assert len(json.load(answer)["results"]) == 5


def test_the_node_that_died_changed_no_caption(pipeline: Run, nodes: Cluster, tmp_path: Path):
    """The calm run's model is a hub's, with the same weights: every node fetches it itself."""
    assert pipeline.killed not in nodes.nodes
    calm = tmp_path / "calm"
    calm.mkdir()
    for name in ("items", "images"):
        shutil.copytree(pipeline.store.path(name), calm / name)
    job = f"python -m jobs.caption_images --config shop.yaml --workspace {calm} --caption.model {HUB_MODEL}"
    done = submit(nodes, *job.split(), RAY_AUTH_MODE="token")
    assert done.returncode == 0, done.stdout + done.stderr
    disturbed, undisturbed = (
        store.read("captions").sort_by("item_id") for store in (pipeline.store, Store(str(calm)))
    )
    assert disturbed.num_rows > 100
    assert set(undisturbed.column("model").to_pylist()) == {f"{HUB_MODEL}@{hub.FIRST}.{WEIGHTS}"}
    assert disturbed.drop_columns(["model"]).equals(undisturbed.drop_columns(["model"]))


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


def test_workers_run_the_code_that_was_sent(nodes: Cluster):
    done = submit(nodes, "python", "-c", WHERE, RAY_AUTH_MODE="token")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("imported ")]
    files = {name: file for _, name, file in lines}
    assert all(files[name].startswith(str(nodes.folder)) for name in ("facap", "jobs", "serve_app")), files
    assert not files["platform"].startswith((str(nodes.folder), str(ROOT / "platform")))


VARIABLES = """
import os, sys
from facap.annotate import engine
from jobs.job_runner import ray_session
from jobs.job_settings import load_settings
from facap.environment import set_here
settings = load_settings([], "job", "")
set_here()
with ray_session(sys.stdout):
    import ray
    wanted = engine.unnamed(engine.environment(settings.caption))
    ray.init(runtime_env={"env_vars": wanted}, ignore_reinit_error=True)  # as ray.data.llm does
    @ray.remote
    def named():
        return {n: os.environ.get(n) for n in ("VLLM_LOGGING_LEVEL", "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS")}
    print("variables", ray.get(named.remote()))
"""


def test_a_runtime_environment_may_name_every_variable_that_facap_names(nodes: Cluster, tmp_path: Path):
    """As in "Failed to merge the Job's runtime env": the job's word wins, and nothing collides."""
    env = yaml.safe_load((nodes.checkout / "cluster" / "runtime_env.yaml").read_text())
    env["working_dir"], env["py_modules"] = str(nodes.checkout), [str(nodes.checkout / "platform" / "facap")]
    env["env_vars"] = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "2"}
    (tmp_path / "env.yaml").write_text(yaml.safe_dump(env))
    done = subprocess.run(
        [
            *("ray", "job", "submit", "--address", f"http://{nodes.dashboard}"),
            *("--runtime-env", str(tmp_path / "env.yaml"), "--", "python", "-c", VARIABLES),
        ],
        env=nodes.shell(RAY_AUTH_MODE="token"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "0", "VLLM_NO_USAGE_STATS": "1"}
    assert f"variables {expected}" in done.stdout


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "Missing authentication token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, "Invalid authentication token"),
    ],
    ids=["without a token", "with a wrong token"],
)
def test_submission_without_the_token_is_refused(
    nodes: Cluster, variables: dict[str, str], message: str, tmp_path: Path
):
    proof = tmp_path / "it-ran"
    done = submit(nodes, "touch", str(proof), **variables)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert not proof.exists()


def test_the_rest_interface_refuses_too(nodes: Cluster):
    request = urllib.request.Request(
        f"http://{nodes.dashboard}/api/jobs/",
        data=b'{"entrypoint": "true"}',
        headers={"content-type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    assert refusal.value.code == 401


def test_the_token_is_readable_by_its_owner_only(nodes: Cluster):
    assert nodes.token_file.stat().st_mode & 0o077 == 0
    assert len(nodes.token_file.read_text()) == 64
