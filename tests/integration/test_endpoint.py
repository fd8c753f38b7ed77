"""The annotation stages killed while a server answers: SIGKILL to the job and to all that it started."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facap.annotate import caption_pipeline, modify_pipeline
from facap.annotate.config import CaptionConfig, EngineConfig, ModifyConfig
from facap.model import checkpoints
from facap.model.preprocess import normalise
from facap.model.tiny import CAPTION_PROMPT
from facap.progress import Progress
from facap.schemas import CAPTIONS, IMAGES, PAIRS
from facap.store import Store
from tests import processes
from tests.annotation import caption_row, image_row, put
from tests.annotation_server import KEY, NAME, Server, captions_of, texts_of
from tests.processes import kill_when

pytestmark = pytest.mark.slow
NUM_IMAGES = 160
SMALL = EngineConfig(batch_size=16, rows_per_part=16)


def job_flags(workspace: Path, stage: str, config: CaptionConfig | ModifyConfig) -> dict[str, object]:
    """The flags by which a job gets the settings of `config`."""
    given = config.model_dump(exclude_unset=True)
    for part in ("endpoint", "engine"):
        given |= {f"{part}.{name}": value for name, value in given.pop(part).items()}
    return {"workspace": workspace} | {f"{stage}.{name}": value for name, value in given.items()}


def test_captions_of_a_killed_job_are_those_of_the_model(
    asked_server: Server, ray_session: None, tmp_path: Path
) -> None:
    """A picture that is none is never sent; the others' captions are those that transformers generates."""
    from transformers import AutoTokenizer, Blip2ForConditionalGeneration

    from facap.model.preprocess import decode, square
    from facap.tiny import captioner

    workspace, log = tmp_path / "w", tmp_path / "log.txt"
    store = Store(str(workspace))
    rows = [image_row(n) for n in range(NUM_IMAGES)]
    rows[3]["bytes"] = b"\xff\xd8 not a picture"
    put(store, "images", IMAGES, rows, parts=3)
    config = captions_of(asked_server, engine=SMALL)
    flags = job_flags(workspace, "caption", config)
    job = processes.start("jobs.caption_images", flags, log)
    kill_when(job, processes.half_done(workspace, "captions"), log)
    stage = store.stage("captions", CAPTIONS, caption_pipeline.key(config, store.fingerprint("images")))
    written = stage.read(["item_id"]).num_rows
    assert 0 < written < NUM_IMAGES and KEY not in log.read_text()

    report = caption_pipeline.run(store, config, Progress("caption"))

    rows = store.read("captions").sort_by("item_id").to_pylist()
    assert [row["item_id"] for row in rows] == sorted(f"item{n:02}" for n in range(NUM_IMAGES))
    assert report.failures["undecodable"] == 1 and rows[3]["status"] == "undecodable"
    assert store.require("captions").extra["usage"]["rows"] == NUM_IMAGES - 1 - written
    good = [row for row in rows if row["status"] == "ok"]
    assert len(good) > 0.9 * NUM_IMAGES and {row["model"] for row in rows} == {f"{NAME}@endpoint"}
    assert all(row["prompt_tokens"] > 16 and row["written_tokens"] > 1 for row in good)  # the picture's too

    folder = checkpoints.resolve("facap/tiny-captioner")
    model = Blip2ForConditionalGeneration.from_pretrained(folder).float().eval()
    pictures = {row["item_id"]: row["bytes"] for row in store.read("images").to_pylist()}
    some = good[:16]
    pixels = np.stack([np.asarray(square(decode(pictures[row["item_id"]]), 128)) for row in some])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = captioner.generate(model, tokenizer, pixels)
    assert [row["raw"].strip() for row in some] == [text.strip() for text in wanted]
    sure = least_probabilities(model, tokenizer, pixels, wanted)
    assert [row["confidence"] for row in some] == pytest.approx(sure, abs=2e-3)
    assert max(sure) > 0.9 and all(0 < row["confidence"] <= 1 for row in good)


@torch.inference_mode()
def least_probabilities(model: Any, tokenizer: Any, pixels: np.ndarray, texts: list[str]) -> list[float]:
    """That of the least probable token of each text, the end included, when transformers reads them."""
    asked = [model.config.image_token_index] * model.config.num_query_tokens
    asked += tokenizer(CAPTION_PROMPT)["input_ids"]
    found = []
    for picture, text in zip(pixels, texts, strict=True):
        said = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([asked + said])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        logits = model(pixel_values=normalise(picture[None]), **inputs).logits[0, len(asked) - 1 : -1]
        found.append(logits.softmax(-1)[range(len(said)), said].min().item())
    return found


def test_texts_of_a_killed_job_are_all_there_once(
    asked_server: Server, ray_session: None, tmp_path: Path
) -> None:
    workspace, log = tmp_path / "w", tmp_path / "log.txt"
    store = Store(str(workspace))
    put(store, "captions", CAPTIONS, [caption_row(n, f"a dress number {n}") for n in range(NUM_IMAGES)])
    links = [(n, (n * 7 + 1) % NUM_IMAGES) for n in range(NUM_IMAGES)]
    pairs = [
        {"reference_id": f"{a:032x}", "target_id": f"{b:032x}", "category": "dress", "split": "train"}
        for a, b in links
        if a != b
    ]
    put(store, "pairs", PAIRS, [pair | {"similarity": 0.5} for pair in pairs])
    told = tmp_path / "told.jinja"  # the server's model ends what begins as a caption does, and little else
    told.write_text("{{ reference_caption }} {{ target_caption }} {{ style }} : a picture of a")
    config = texts_of(asked_server, max_tokens=64, engine=SMALL, template=str(told))
    flags = job_flags(workspace, "modify", config)
    job = processes.start("jobs.write_modifications", flags, log)
    kill_when(job, processes.half_done(workspace, "triplets"), log)
    assert store.manifest("triplets") is None

    report = modify_pipeline.run(store, config, Progress("modify"))

    rows = store.read("triplets").to_pylist()
    pair_of = ("reference_id", "target_id")
    assert sorted(tuple(r[k] for k in pair_of) for r in rows) == sorted(
        tuple(p[k] for k in pair_of) for p in pairs
    )
    assert report.rows_in == len(pairs) and all(row["raw"] is not None for row in rows)
    usage = store.require("triplets").extra["usage"]
    assert 0 < usage["rows"] < len(pairs)  # the killed job's are not asked again
