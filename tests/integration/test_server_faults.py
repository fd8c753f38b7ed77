"""What is wrong with a server that is asked for annotations, and one that dies.

The last file of those that share the server (see annotation_server), since it ends it.
"""

from pathlib import Path

import pytest

from facap.annotate import caption_pipeline, modify_pipeline
from facap.annotate.config import EngineConfig, ModifyConfig
from facap.errors import ConfigError, StageFailed
from facap.progress import Progress
from facap.schemas import CAPTIONS, IMAGES, PAIRS
from facap.store import Store
from tests import processes
from tests.annotation import caption_row, image_row, put
from tests.annotation_server import KEY, NAME, VARIABLE, Server, asked, captions_of
from tests.processes import kill_everything

pytestmark = pytest.mark.slow
NUM_IMAGES = 320
SMALL = EngineConfig(batch_size=16, rows_per_part=16)


def test_what_is_wrong_with_the_server_is_one_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, ray_session: None, tmp_path: Path
) -> None:
    """Then the server dies in the middle: what was written is kept."""
    store = Store(str(tmp_path))
    put(store, "images", IMAGES, [image_row(n) for n in range(NUM_IMAGES)], parts=16)
    config = captions_of(server)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"{server.url} wants a key, and {VARIABLE} is not set"):
        caption_pipeline.run(store, config, Progress("caption"))
    monkeypatch.setenv(VARIABLE, "guessed")
    with pytest.raises(ConfigError, match="is refused") as refused:
        caption_pipeline.run(store, config, Progress("caption"))
    assert "guessed" not in str(refused.value)
    monkeypatch.setenv(VARIABLE, KEY)
    with pytest.raises(ConfigError, match=f"has no model 'other'; it has {NAME}"):
        caption_pipeline.run(store, config.model_copy(update={"model": "other"}), Progress("caption"))
    long = ModifyConfig(model=NAME, template="modify_plain", max_failure_rate=1.0, endpoint=asked(server))
    put(store, "captions", CAPTIONS, [caption_row(n, "a dress " * (90 * n)) for n in (1, 2)])
    pair = {"reference_id": f"{1:032x}", "target_id": f"{2:032x}", "category": "dress", "split": "val"}
    put(store, "pairs", PAIRS, [pair | {"similarity": 0.5}])
    with pytest.raises(StageFailed, match="1 engine_error"):
        modify_pipeline.run(store, long.model_copy(update={"max_failure_rate": 0.5}), Progress("modify"))

    stage = store.stage("captions", CAPTIONS, caption_pipeline.key(config, store.fingerprint("images")))
    small = config.model_copy(update={"engine": SMALL})
    killer = processes.after(lambda: any(stage.parts("part-")), lambda: kill_everything(server.process))
    with pytest.raises(StageFailed, match="does not answer"):
        caption_pipeline.run(store, small, Progress("caption"))
    killer.join()
    assert 0 < stage.read(["item_id"]).num_rows < NUM_IMAGES
    with pytest.raises(ConfigError, match=f"endpoint {server.url} does not answer"):
        caption_pipeline.run(store, small, Progress("caption"))
