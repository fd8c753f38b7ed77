"""A model of a hub, from a local cache in the hub's layout, through the real vLLM."""

import json
from pathlib import Path

import pytest

from facap.schemas import IMAGES
from facap.store import Store
from tests.annotation import image_row, put
from tests.hub import FIRST, SECOND, Hub

pytestmark = pytest.mark.slow
NAME = "someone/captioner"
START = """
import ray, os
os.environ["RAY_AUTH_MODE"] = "disabled"
"""
CAPTION = """
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         object_store_memory=200 * 1024**2)
from facap.annotate import caption_pipeline
from facap.annotate.config import CaptionConfig
from facap.progress import Progress
from facap.store import Store
store = Store({workspace!r})
config = CaptionConfig(model={name!r}, max_failure_rate=1.0, check_category=False)
for _ in range(2):
    report = caption_pipeline.run(store, config, Progress("caption"))
print("reused", report.reused)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    made = Hub(tmp_path / "hub")
    made.add(NAME, SECOND, "facap/tiny-captioner", note="newer")
    made.add(NAME, FIRST, "facap/tiny-captioner")
    return made


def test_captions_record_the_commit_and_the_files_that_wrote_them(hub: Hub, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "w"))
    put(store, "images", IMAGES, [image_row(n) for n in range(4)])
    said = hub.python(START + CAPTION.format(workspace=store.root, name=NAME))
    assert "reused True" in said
    manifest = store.require("captions")
    label = json.loads(
        hub.python(
            f"import json; from facap.model.checkpoints import label as l; print(json.dumps(l({NAME!r})))"
        )
    )
    assert label.startswith(f"{NAME}@{FIRST}.")
    assert set(store.read("captions", ["model"]).column(0).to_pylist()) == {label}
    assert manifest.config["model"] == f"{NAME}@{FIRST}" and manifest.extra["model"] == label
    texts = store.read("captions", ["caption"]).column(0).to_pylist()
    assert all(texts) and manifest.counts == {"ok": 4}
