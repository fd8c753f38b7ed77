"""enhFashionIQ in small: a Fashion IQ folder with pictures, annotated anew by the stages as they are."""

import json
import random
from pathlib import Path

import pytest

from facap.annotate import caption_pipeline, modify_pipeline
from facap.annotate.config import CaptionConfig
from facap.annotate.origin import Origin, rendered_hash
from facap.catalog import wording
from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import sample_garment
from facap.crawl.config import CrawlConfig
from facap.progress import Progress
from facap.schemas import CAPTIONS, from_rows
from facap.store import Store
from facap.triplets import pipeline as mining
from facap.triplets.config import PairsConfig
from facap.triplets.formats import fashion_iq
from facap.triplets.formats.entries import Part
from jobs.import_triplets import decoder
from tests.annotation_server import Server, texts_of
from tests.formats_data import load, save

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
LISTS = {"dress": [f"B{n:03}" for n in range(14)], "toptee": [f"B{n:03}" for n in range(12, 24)]}  # 2 in both
ALL_PAIRS = PairsConfig(
    min_similarity=-1, max_similarity=1, max_changes=99, max_target_uses=99, num_workers=1
)


def write_dataset(folder: Path) -> dict[tuple[str, str], str]:
    """Lists without captions, and a rendered garment for each name; returns their descriptions."""
    from PIL import Image

    rng = random.Random(7)
    (folder / "images").mkdir(parents=True)
    told = {}
    for category, names in LISTS.items():
        fashion_iq.write(folder, Part(category, "val", gallery=names))
        for name in names:
            garment = sample_garment(rng, {"dress": "dress", "toptee": "top"}[category])
            picture = Image.fromarray(render(garment, sample_view(rng), width=128))
            picture.save(folder / "images" / f"{name}.jpg")
            told[category, name] = wording.caption(garment)
    return told


def put_captions(store: Store, told: dict[tuple[str, str], str]) -> None:
    """An earlier version of CAPTIONS that says `told`, as the stage would have written it."""
    config = CaptionConfig(max_chars=799)  # another limit: the stage has to judge these again
    made_by = Origin(config)
    judge = caption_pipeline._Judge(config, made_by)
    by_name = {row["image_id"]: (row["category"], row["name"]) for row in store.read("galleries").to_pylist()}
    rows = []
    for image in store.read("images", ["image_id", "item_id", "product_id", "category"]).to_pylist():
        prompt = made_by.prompts.of(image["category"]).render(category=image["category"])
        answer = {"raw": told[by_name[image["image_id"]]], "rendered_hash": rendered_hash(prompt)}
        answer |= {
            "prompt_tokens": 20,
            "written_tokens": 30,
            "cut_off": False,
            "confidence": 0.95,
            "failure": None,
            "error": None,
        }
        rows.append(judge.row(image | answer))
    stage = store.stage("captions", CAPTIONS, "before")
    stage.write(from_rows(rows, CAPTIONS))
    stage.commit(config={}, inputs={})


def test_every_image_of_the_lists_is_captioned_paired_and_written_about(tmp_path: Path, asked_server: Server):
    """Captions are at hand from before, and what the texts say does not matter here."""
    told = write_dataset(tmp_path / "fiq")
    store = Store(str(tmp_path / "workspace"))
    images = str(tmp_path / "fiq" / "images")
    report = load(store, tmp_path / "fiq", "fashion_iq", decoder(CrawlConfig()), images=images)
    assert (report.rows_in, report.rows_out) == (26, 26)

    put_captions(store, told)
    captioned = caption_pipeline.run(store, CaptionConfig(), Progress("caption"))
    assert captioned.rows_out == 26 and "26 rows taken over" in captioned.note
    mining.run(store, ALL_PAIRS, Progress("pairs"))
    pairs = store.read("pairs").to_pylist()
    ids = {(row["category"], row["name"]): row["image_id"] for row in store.read("galleries").to_pylist()}
    assert sorted(pair["reference_id"] for pair in pairs) == sorted(ids.values())
    assert {pair["split"] for pair in pairs} == {"val"}
    report = modify_pipeline.run(store, texts_of(asked_server, max_tokens=40), Progress("modify"))
    assert report.rows_in == 26

    exported = save(store, tmp_path / "out", "fashion_iq", name="enhanced")
    assert exported.rows_out == report.rows_out > 0
    written = {(row["reference_id"], row["target_id"]): row for row in store.read("triplets").to_pylist()}
    num_records = 0
    for category, names in LISTS.items():
        records = json.loads((tmp_path / "out" / "captions" / f"cap.{category}.val.json").read_text())
        references = [record["candidate"] for record in records]
        assert len(set(references)) == len(references)
        for record in records:
            assert {record["candidate"], record["target"]} <= set(names)
            row = written[ids[category, record["candidate"]], ids[category, record["target"]]]
            assert record["captions"] == [row["modification"]]
        num_records += len(records)
    assert num_records == exported.rows_out
