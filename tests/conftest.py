"""Fixtures shared by every test: one local Ray for the session, and the folders given to tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from facap.environment import set_here
from tests.annotation_server import FILES, asked_server, server  # noqa: F401  two are fixtures

# The same examples in every run, so that a failure is of the change at hand; HYPOTHESIS_PROFILE=explore
# looks for new ones, and for more of them.
# Neither looks at the clock: a busy machine stops a process for longer than an example takes.
patient: Any = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("fixed", derandomize=True, **patient)
hypothesis.settings.register_profile("explore", max_examples=500, **patient)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

os.environ["RAY_AUTH_MODE"] = "disabled"  # a local Ray of our own; the cluster test sets its own
os.environ.pop("RAY_ADDRESS", None)
set_here()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests/integration/test_cluster.py shows that no hub is asked
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
for start in ("RAY_raylet_start_wait_time_s", "RAY_gcs_server_port_wait_time_s"):
    os.environ.setdefault(start, "600")  # 30 s is not enough on a busy machine
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
os.environ.setdefault(
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0"
)  # a process a training that waits for a cloud

LONGEST = ("test_quickstart.py", "test_train_broken.py")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray on two CPUs, started once; its logs stay in Ray's session folder."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=400 * 1024**2,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real photographs and official files given beside the checkout; skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: real photographs and official files are not part of the repo")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Matrices of small models are slower on several threads, much slower on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two workers each begins with one of the longest files, so that what is left at the end is small."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.name not in LONGEST)


class ByFile(LoadScopeScheduling):
    """Tests of a file stay on one worker, and so do the files that share a session's server."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "server" if file.rpartition("/")[2] in FILES else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How `pytest -n` gives tests to workers."""
    return ByFile(config, log)
