"""A real engine whose context is too small for an answer: it is cut off, though max_tokens is not reached."""

from pathlib import Path

import pytest

from facap.annotate import engine, modify_pipeline
from facap.annotate.config import EngineConfig, ModifyConfig
from facap.progress import Progress
from facap.schemas import CAPTIONS, PAIRS
from facap.store import Store
from tests.annotation import caption_row, put

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
CONTEXT = 34  # tokens; the two prompts have 26 and 12
LONG = "a navy and white striped cotton dress with long sleeves"


def test_what_the_context_ends_is_too_long(tmp_path: Path) -> None:
    assert engine.context(ModifyConfig()) == 256 and engine.context(small()) == CONTEXT
    store = Store(str(tmp_path))
    texts = (LONG, "a red cotton dress with short sleeves and a v-neck", "a navy top", "a red top")
    put(store, "captions", CAPTIONS, [caption_row(n, text) for n, text in enumerate(texts)])
    pair = {"category": "dress", "split": "train", "similarity": 0.5}
    ids = [{"reference_id": f"{a:032x}", "target_id": f"{b:032x}"} for a, b in ((0, 1), (2, 3))]
    put(store, "pairs", PAIRS, [pair | two for two in ids])
    modify_pipeline.run(store, small(), Progress("modify"))
    cut, whole = sorted(store.read("triplets").to_pylist(), key=lambda row: row["reference_id"])
    assert cut["prompt_tokens"] + cut["written_tokens"] == CONTEXT and cut["written_tokens"] < 33
    assert cut["status"] == "too_long" and cut["raw"] and "context" in cut["error"]
    assert whole["status"] == "ok" and whole["prompt_tokens"] + whole["written_tokens"] < CONTEXT


def small() -> ModifyConfig:
    """The shipped writer with less room than it was trained for."""
    return ModifyConfig(max_tokens=33, max_failure_rate=1.0, engine=EngineConfig(max_model_len=CONTEXT))
