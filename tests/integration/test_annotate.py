"""Both annotation stages with a real vLLM server and the tiny captioner; quality is not asked for here."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from tokenizers import Tokenizer

from facap.annotate import caption_pipeline, modify_pipeline, prompts, structured, taxonomy
from facap.annotate.config import CaptionConfig, EngineConfig, ModifyConfig
from facap.annotate.origin import Origin, rendered_hash, repaired_hash
from facap.errors import StageFailed
from facap.model import checkpoints
from facap.progress import Progress
from facap.schemas import CAPTIONS, IMAGES, PAIRS, TRIPLETS, from_rows
from facap.store import Store
from tests.annotation import COLOURS, TOPS, caption_row, image_row, put, told
from tests.annotation_server import NAME, Server, captions_of, texts_of

pytestmark = pytest.mark.slow

KEPT = 24


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """IMAGES: 24 kept rows of which one is no picture, one duplicate and one failed fetch."""
    rows = [image_row(n) for n in range(KEPT)]
    rows[3]["bytes"] = b"\xff\xd8 not a picture"
    rows += [
        image_row(50, duplicate_of="item00"),
        image_row(51, image_id=None, bytes=None, status="http_404", error="gone"),
    ]
    store = Store(str(tmp_path))
    put(store, "images", IMAGES, rows, parts=3)
    return store


def test_a_killed_caption_stage_is_finished(
    store: Store,
    asked_server: Server,
    ray_session: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    """Resuming, a broken picture, what is recorded and printed, and a finished version with another prompt
    for tops, whose captions of dresses are taken over."""
    own = tmp_path / "tops.jinja"
    own.write_text("a picture of a")
    config = captions_of(asked_server, templates={"top": str(own)}, engine=EngineConfig(rows_per_part=6))
    before = [answered_caption(n, captions_of(asked_server)) for n in [*range(8, 12), *TOPS]]
    put(store, "captions", CAPTIONS, before, parts=2)
    stage = store.stage("captions", CAPTIONS, caption_pipeline.key(config, store.fingerprint("images")))
    by_killed_run = [caption_row(n, f"a red dress {n}") for n in range(3)]
    stage.write(from_rows(by_killed_run, CAPTIONS))
    stage.write(from_rows([caption_row(4, None)], CAPTIONS))  # failed: to be tried again
    (part,) = stage.parts("part-")
    written_at = (Path(stage.folder) / part).stat().st_mtime_ns

    report = caption_pipeline.run(store, config, Progress("caption"))

    rows = {row["item_id"]: row for row in store.read("captions").to_pylist()}
    assert report.rows_in == KEPT == store.require("captions").rows
    assert sorted(rows) == [f"item{n:02}" for n in range(KEPT)]
    assert [rows[f"item{n:02}"]["caption"] for n in range(3)] == [f"a red dress {n}" for n in range(3)]
    assert (Path(stage.folder) / part).stat().st_mtime_ns == written_at
    assert rows["item03"]["status"] == "undecodable" and rows["item03"]["raw"] is None
    carried = [rows[f"item{n:02}"] for n in range(8, 12)]
    assert all(row["raw"] == "a red dress, as told before" for row in carried)
    assert all(dict(row["attributes"]) == {"colour": "red"} for row in carried)
    new = [rows[f"item{n:02}"] for n in [*range(4, 8), *range(12, KEPT)]]
    assert "a red dress, as told before" not in {row["raw"] for row in new}
    assert {row["prompt_hash"] for row in new if row["category"] == "top"} == {prompts.load(str(own)).hash}
    common = {row["prompt_hash"] for row in new + carried if row["category"] == "dress"}
    assert common == {prompts.load("caption_plain").hash}
    assert all(row["raw"] and row["model"] == f"{NAME}@endpoint" for row in new)
    assert "earlier" not in {row["prompt_hash"] for row in new}
    usage = store.require("captions").extra["usage"]
    assert usage["carried"] == len(carried) and "4 rows taken over" in report.note
    assert usage["rows"] == len(new) and usage["written_tokens"] == sum(row["written_tokens"] for row in new)
    assert all(row["prompt_tokens"] > 16 for row in new)  # the picture's own, and the prompt's
    failures = Counter(row["status"] for row in rows.values() if row["status"] != "ok")
    assert report.failures == failures and report.rows_out == KEPT - failures.total()

    out, err = capfd.readouterr()
    assert f"asking {asked_server.url}" in out and f"{KEPT}/{KEPT}" in out
    assert "4 rows are taken over from the version before" in out
    noise = [line for line in (out + err).splitlines() if not line.startswith("  caption")]
    # Ray's C++ core speaks for itself unless RAY_BACKEND_LOG_LEVEL is set before it starts; the
    # raylet warns when workers start slowly.
    ours = [line for line in noise if "core_worker.cc" not in line and "(raylet)" not in line]
    assert not [line for line in ours if line.strip()]
    again = caption_pipeline.run(store, config, Progress("caption"))
    assert again.reused and again.failures == failures


def answered_caption(number: int, config: CaptionConfig) -> dict:
    """A row as the stage with the settings `config` makes it."""
    made_by = Origin(config)
    ids = {name: image_row(number)[name] for name in ("image_id", "item_id", "product_id", "category")}
    prompt = made_by.prompts.of(ids["category"]).render(category=ids["category"])
    answer = {"raw": "a red dress, as told before", "rendered_hash": rendered_hash(prompt), "cut_off": False}
    answer |= {"prompt_tokens": 20, "written_tokens": 5, "confidence": None, "failure": None, "error": None}
    return caption_pipeline._Judge(config, made_by).row(ids | answer)


def test_every_answer_is_held_to_the_schema(asked_server: Server, store: Store, ray_session: None) -> None:
    config = captions_of(asked_server, output="attributes", template="attributes_plain", max_tokens=112)
    report = caption_pipeline.run(store, config, Progress("caption"))
    rows = store.read("captions").sort_by("item_id").to_pylist()
    assert report.rows_out == KEPT - 1 and report.failures == {"undecodable": 1}
    words = taxonomy.load()
    for row in rows:
        if row["status"] == "ok":
            answer = json.loads(row["raw"])
            jsonschema.validate(answer, structured.schema(words))
            stated = {name: value for name, value in answer.items() if value and name != "caption"}
            assert set(dict(row["attributes"])) == set(stated) and row["caption"] == answer["caption"].strip()
    colours = [dict(row["attributes"]).get("colour") for row in rows if row["status"] == "ok"]
    wanted = [COLOURS[n % len(COLOURS)] for n in range(KEPT) if n != 3]
    seen = sum(a == b for a, b in zip(colours, wanted, strict=True))
    assert seen > 0.6 * len(wanted), (colours, wanted)  # drawn far more plainly than what it was taught on


def test_modifications(
    asked_server: Server,
    tmp_path: Path,
    ray_session: None,
    capsys: pytest.CaptureFixture,
) -> None:
    """Of each pair's three texts one is kept, across parts, batches and a killed run; then those that are too
    long are asked for again."""
    store = Store(str(tmp_path))
    captions = [caption_row(n, f"a {COLOURS[n % 5]} dress with long sleeves") for n in range(7)]
    put(store, "captions", CAPTIONS, [*captions, caption_row(7, None)])
    links = [*[(a, b) for a in range(5) for b in range(5) if a != b][:13], (0, 5), (0, 7), (9, 1)]
    pairs = [
        {"reference_id": f"{a:032x}", "target_id": f"{b:032x}", "category": "dress", "split": "val"}
        for a, b in links
    ]
    put(store, "pairs", PAIRS, [pair | {"similarity": 0.5} for pair in pairs])
    config = texts_of(
        asked_server,
        candidates=3,
        temperature=0.8,
        max_chars=30,
        max_tokens=16,  # the captioner has room for 160 in all
        retries=1,
        engine=EngineConfig(batch_size=8, rows_per_part=12),
    )
    inputs = {name: store.fingerprint(name) for name in ("pairs", "captions")}
    stage = store.stage("triplets", TRIPLETS, modify_pipeline.key(config, **inputs))
    hashes = {"model": "m", "prompt_hash": "earlier", "params_hash": "earlier"}
    stage.write(from_rows([pairs[0] | hashes | {"modification": "make it navy", "status": "ok"}], TRIPLETS))

    report = modify_pipeline.run(store, config, Progress("modify"))

    rows = store.read("triplets").to_pylist()
    by_pair = {(int(r["reference_id"], 16), int(r["target_id"], 16)): r for r in rows}
    assert report.rows_in == len(rows) == 16
    assert sorted(by_pair) == sorted(links)
    assert by_pair[0, 7]["status"] == by_pair[9, 1]["status"] == "caption_missing"
    assert by_pair[0, 5]["status"] == "identical"  # equal captions: no engine was asked
    assert by_pair[links[0]]["modification"] == "make it navy"
    written = [by_pair[link] for link in links[1:13]]
    assert all(r["raw"] is not None and r["model"] == f"{NAME}@endpoint" for r in written)
    tokenizer = Tokenizer.from_file(f"{checkpoints.resolve('facap/tiny-captioner')}/tokenizer.json")
    ask = modify_pipeline._Ask(config, Origin(config).prompts)
    texts = {row["image_id"]: row["caption"] for row in captions}
    again = prompts.load(config.repair).hash
    num_again = 0
    for row in written:
        shown = told(texts[row["reference_id"]], texts[row["target_id"]])
        asked = ask.prompt(row | shown)
        asked_thrice = 3 * len(tokenizer.encode(asked).ids)
        if row["rendered_hash"] == rendered_hash(asked):
            assert row["status"] == "ok" and row["prompt_tokens"] == asked_thrice
        else:
            num_again += 1
            assert row["rendered_hash"] == repaired_hash(rendered_hash(asked), again)
            assert row["prompt_tokens"] > asked_thrice + len(tokenizer.encode(asked).ids)
    assert num_again  # most texts have more than 30 characters
    assert f"{num_again} answers of no use are asked for again (1 of at most 1)" in capsys.readouterr().out
    usage = store.require("triplets").extra["usage"]
    assert usage["rows"] == len(written)
    assert usage["prompt_tokens"] == sum(row["prompt_tokens"] for row in written)
    assert all(r["split"] == "val" for r in rows)
    assert modify_pipeline.run(store, config, Progress("modify")).reused


def test_failure_limit_holds_without_an_engine(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put(store, "captions", CAPTIONS, [caption_row(0, None)])
    pair = {
        "reference_id": f"{0:032x}",
        "target_id": "i1",
        "category": "dress",
        "similarity": 0.5,
        "split": "val",
    }
    put(store, "pairs", PAIRS, [pair])
    with pytest.raises(StageFailed, match="caption_missing"):
        modify_pipeline.run(store, ModifyConfig(), Progress("modify"))
    assert store.manifest("triplets") is None
