"""Prompts, settings, keys, and the pure parts of the two annotation stages."""

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
from pydantic import ValidationError

from facap.annotate import caption_pipeline, engine, modify_pipeline, prompts
from facap.annotate.config import CaptionConfig, EngineConfig, ModifyConfig
from facap.annotate.origin import Origin, rendered_hash
from facap.annotate.report import Meter, describe
from facap.catalog.wording import STYLES
from facap.errors import ConfigError
from facap.progress import Progress
from facap.schemas import CAPTIONS, CATEGORIES, from_rows
from facap.store import Store
from tests.annotation import told

PAIR = {
    "category": "dress",
    "reference_caption": "a red dress",
    "target_caption": "a navy dress",
    "reference_attributes": {"colour": "red"},
    "target_attributes": {"colour": "navy"},
}


def test_the_tiny_models_get_the_texts_that_they_were_trained_on() -> None:
    assert prompts.load("caption_plain").render(category="dress") == "a picture of"
    assert (
        prompts.load("modify_plain").render(style="want", **PAIR)
        == "reference : a red dress target : a navy dress want :"
    )


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("style", STYLES)
def test_prompts_for_real_models(category: str, style: str) -> None:
    caption = prompts.load("caption_fashion").render(category=category)
    modify = prompts.load("modify_fashion").render(**(PAIR | {"category": category, "style": style}))
    assert category in caption and category in modify
    assert "colour becomes navy" in modify and "{" not in caption + modify
    assert ("what it replaces" in modify) == (style == "instead") and modify.count("Write one request") == 1
    assert caption.startswith("You describe") and modify.startswith("A shopper")


def test_every_pair_has_its_style_and_all_styles_are_used() -> None:
    ask = modify_pipeline._Ask(ModifyConfig(), Origin(ModifyConfig()).prompts)
    pairs = [{"reference_id": f"{i:032x}", "target_id": f"{i + 1:032x}"} for i in range(400)]
    given = Counter(map(ask._style, pairs))
    assert [ask._style(pair) for pair in pairs[:50]] == [ask._style(pair) for pair in pairs[:50]]
    assert set(given) == set(STYLES)
    assert given["change"] > max(given["instead"], given["want"])


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("what {{ category }}?")
    prompt = prompts.load(str(own))
    assert prompt.render(category="skirt") == "what skirt?"
    assert prompt.hash != prompts.load("caption_plain").hash
    own.write_text("{{ colour }}")
    with pytest.raises(ConfigError, match=r"'colour' is undefined; it may use category"):
        prompts.load(str(own)).render(category="skirt")
    own.write_text("{% if %}")
    with pytest.raises(ConfigError, match="line 1"):
        prompts.load(str(own))
    with pytest.raises(ConfigError, match="shipped are attributes_fashion, attributes_plain"):
        prompts.load("captoin")


def test_chat_puts_the_picture_first() -> None:
    assert prompts.chat("hi", with_image=False) == [{"role": "user", "content": "hi"}]
    content = prompts.chat("hi", with_image=True)[0]["content"]
    assert [part["type"] for part in content] == ["image", "text"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 32},
        {"temperature": 0.5},
        {"prepare": "as_is"},
        {"image_px": 64},
        {"chat": True},
        {"max_chars": 100},
        {"template": "caption_fashion"},
        {"model": "facap/tiny-writer"},
        {"engine": {"dtype": "bfloat16"}},
        {"engine": {"engine_kwargs": {"quantization": "fp8"}}},
    ],
)
def test_settings_that_change_captions_change_the_key(change: dict) -> None:
    before = caption_pipeline.key(CaptionConfig(), "images1")
    assert caption_pipeline.key(CaptionConfig(**change), "images1") != before
    assert caption_pipeline.key(CaptionConfig(), "images2") != before


@pytest.mark.parametrize(
    "change",
    [
        {"max_failure_rate": 0.5},
        {"engine": {"num_engines": 4}},
        {"engine": {"batch_size": 8, "max_num_seqs": 8, "cpu_threads": 2, "kv_cache_gib": 2}},
        {"engine": {"tensor_parallel_size": 2}},
        {"engine": {"dtype": "float32"}},  # what auto means on cpu
    ],
)
def test_workers_and_limits_do_not(change: dict) -> None:
    assert caption_pipeline.key(CaptionConfig(**change), "i") == caption_pipeline.key(CaptionConfig(), "i")
    assert modify_pipeline.key(ModifyConfig(**change), "p", "c") == modify_pipeline.key(
        ModifyConfig(), "p", "c"
    )


def test_words_of_ones_own_change_the_key_by_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("heel:\n  values:\n    flat: []\n")
    second.write_text(first.read_text())
    plain, a, b = (
        modify_pipeline.key(ModifyConfig(taxonomy=t), "p", "c") for t in ("", str(first), str(second))
    )
    assert plain != a == b


def test_no_room_for_the_prompt_is_an_error() -> None:
    with pytest.raises(ValidationError, match="max_tokens 64 should be below"):
        CaptionConfig(engine=EngineConfig(max_model_len=64))


def test_engine_arguments() -> None:
    cpu = engine.engine_kwargs(CaptionConfig(engine=EngineConfig(engine_kwargs={"max_num_seqs": 7})))
    assert cpu["dtype"] == "float32" and cpu["enforce_eager"] and cpu["max_num_seqs"] == 7
    gpu = CaptionConfig(engine=EngineConfig(device="gpu", tensor_parallel_size=2))
    assert engine.engine_kwargs(gpu)["dtype"] == "auto" and "enforce_eager" not in engine.engine_kwargs(gpu)
    assert not any("CPU" in name or "OMP" in name for name in engine.environment(gpu))
    assert engine.environment(CaptionConfig())["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_kept_images() -> None:
    images = pa.table(
        {
            "item_id": ["a", "b", "c"],
            "status": ["ok", "http_404", "ok"],
            "duplicate_of": pa.array([None, None, "a"], pa.string()),
        }
    )
    assert caption_pipeline.keep(images).column("item_id").to_pylist() == ["a"]


def test_pairs_meet_their_captions() -> None:
    pairs = [{"reference_id": a, "target_id": b} for a, b in ("xy", "xz", "zx", "xw")]
    captions = {name: {"caption": text, "attributes": "[]"} for name, text in (("x", "red"), ("y", "navy"))}
    ready, refused = modify_pipeline.match(pairs, captions | {"w": captions["x"]})
    assert [(r["reference_caption"], r["target_caption"]) for r in ready] == [("red", "navy")]
    assert [r["status"] for r in refused] == ["caption_missing", "caption_missing", "identical"]
    assert all("image z" in r["error"] for r in refused[:2])


def test_the_second_direction_doubles_no_pair() -> None:
    pairs = [{"reference_id": a, "target_id": b, "split": "val"} for a, b in ("xy", "yx", "xz")]
    assert modify_pipeline.turned(pairs) == [{"reference_id": "z", "target_id": "x", "split": "val"}]


def test_an_undecodable_picture_is_refused() -> None:
    ask = caption_pipeline._Ask(CaptionConfig(), Origin(CaptionConfig()).prompts)
    row = {"image_id": "i", "item_id": "t", "product_id": "p", "category": "top"}
    for content in (b"", b"\xff\xd8 no", None):
        made = ask(row | {"bytes": content})
        assert isinstance(made, engine.Refusal) and made.status == "undecodable"
        assert made.keep == row


def answered(prepared: dict, text: str, tokens: int) -> dict:
    """What ray.data.llm makes of a prepared row: rows with an error pass the engine by."""
    return (
        prepared
        if prepared[engine.FAILURE]
        else prepared
        | {"generated_text": text, "num_input_tokens": 9, "num_generated_tokens": tokens}
        | {"logprobs": [{7: {"logprob": -0.1}}, {2: {"logprob": -0.5}}]}
    )


def test_a_caption_row_from_picture_to_row() -> None:
    config = CaptionConfig()
    made_by = Origin(config)
    ask = caption_pipeline._Ask(config, made_by.prompts)
    prepare = engine._Prepare(ask, config.sampling_params(), False, True)
    picture = io.BytesIO()
    PIL.Image.new("RGB", (256, 320), "red").save(picture, "JPEG")
    ids = {"image_id": "i", "item_id": "t", "product_id": "p", "category": "top"}
    row = ids | {"bytes": picture.getvalue()}
    good = prepare(row)
    assert row == {}  # nothing of it travels on by itself
    assert good["prompt"] == "a picture of" and good["multimodal_data"]["image"].size == (128, 128)
    broken = prepare(ids | {"bytes": b"no"})
    answer = engine._Answer(config.max_tokens)
    refused = good | {engine.FAILURE: "ValueError: too long"}
    answers = [
        answer(answered(good, " a red top", 4)),
        answer(answered(good, " a red top", 64)),
        answer(answered(broken, "", 0)),
        answer(answered(refused, "", 0)),
    ]
    table = caption_pipeline._Judge(config, made_by)(pa.Table.from_pylist(answers))
    rows = table.to_pylist()
    assert [r["status"] for r in rows] == ["ok", "too_long", "undecodable", "engine_error"]
    assert rows[0]["caption"] == "a red top" and rows[0]["raw"] == " a red top"
    assert rows[0]["attributes"] == [("colour", "red")]
    tokens = [(row["prompt_tokens"], row["written_tokens"]) for row in rows]
    assert tokens == [(9, 4), (9, 64), (None, None), (None, None)]
    assert [row["confidence"] for row in rows] == pytest.approx([0.6065, 0.6065, None, None])
    assert rows[3]["raw"] is None and rows[3]["error"] == "ValueError: too long"
    asked = [row["rendered_hash"] for row in rows]
    assert asked == [rendered_hash("a picture of")] * 2 + [None, rendered_hash("a picture of")]
    assert all(r["model"].startswith("facap/tiny-captioner@") for r in rows)


def test_confidence_is_that_of_the_least_certain_token() -> None:
    assert engine.confidence([{7: {"logprob": -0.1}}, {2: {"logprob": -0.5}}]) == 0.6065
    assert engine.confidence(np.array([-0.5, -0.1])) == engine.confidence([-0.1, -0.5]) == 0.6065
    assert engine.confidence(None) is engine.confidence([]) is None
    assert CaptionConfig().sampling_params()["logprobs"] == 0
    assert "logprobs" not in CaptionConfig(confidence=False).sampling_params()


def test_a_pair_from_captions_to_row() -> None:
    config = ModifyConfig(chat=True, template="modify_fashion")
    made_by = Origin(config)
    ask = modify_pipeline._Ask(config, made_by.prompts)
    prepare = engine._Prepare(ask, config.sampling_params(), True, False)
    ids = {"reference_id": "a", "target_id": "b", "category": "top", "split": "val"}
    prepared = prepare(ids | told("a red top", "a navy top"))
    assert "colour becomes navy" in prepared["messages"][0]["content"] and "prompt" not in prepared
    answer = engine._Answer(config.max_tokens)(answered(prepared, '"Make it navy."', 5))
    (row,) = modify_pipeline._Judge(config, made_by)(pa.Table.from_pylist([answer])).to_pylist()
    assert (row["modification"], row["status"], row["quality"]) == ("Make it navy.", "ok", 1.0)
    assert {name: row[name] for name in ids} == ids


def test_configs_import_lightly() -> None:
    code = (
        "import sys, facap.annotate.config; heavy = {'ray', 'torch', 'vllm', 'mlflow'} & sys.modules.keys();"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_cause_of_a_failure_is_one_line() -> None:
    trace = "Traceback:\n  File x\nValueError: first\n\nTraceback:\npydantic.OtherError: 1 error\n  too long"
    assert engine._cause(trace) == "pydantic.OtherError: 1 error too long"
    assert engine._cause("it died") == "it died"
    wrapped = (
        "facap.errors.StageFailed: it is down\n\nThe above\n\nray.exceptions.UserCodeException: UDF failed"
    )
    assert engine._cause(wrapped) == "it is down"


def test_a_run_is_metered_without_what_was_there_before(tmp_path: Path) -> None:
    def row(number: int, **more: object) -> dict:
        made = {"model": "m", "prompt_hash": "p", "params_hash": "q", "status": "ok"}
        return {"image_id": f"{number}", "item_id": "t", "product_id": "p", "category": "top"} | made | more

    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "key")
    stage.write(from_rows([row(1, prompt_tokens=100, written_tokens=10)], CAPTIONS))
    meter = Meter(stage, EngineConfig(num_engines=2, hourly_cost=3.0))
    stage.write(
        from_rows([row(2, prompt_tokens=70, written_tokens=7), row(3, status="undecodable")], CAPTIONS)
    )
    meter.started -= 36.0
    usage = meter.usage()
    assert [usage[name] for name in ("rows", "prompt_tokens", "written_tokens")] == [1, 70, 7]
    assert usage["carried"] == 0
    assert usage["seconds"] == pytest.approx(36, abs=1) and usage["tokens_per_s"] == pytest.approx(
        77 / 36, abs=0.1
    )
    assert usage["cost_per_thousand"] == pytest.approx(1000 * 2 * 3.0 / 100, rel=0.05)
    assert describe(usage).startswith("70 tokens read, 7 written, 2/s, 6")


def test_rows_that_were_taken_over_are_told_but_not_metered(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "key")
    meter = Meter(stage, EngineConfig())
    made = {"model": "m", "prompt_hash": "p", "params_hash": "q", "status": "ok", "prompt_tokens": 5}
    row = {"image_id": "1", "item_id": "t", "product_id": "p", "category": "top"} | made
    stage.write(from_rows([row], CAPTIONS))
    meter.take_over(1, Progress("caption"))
    usage = meter.usage()
    assert (usage["rows"], usage["prompt_tokens"], usage["carried"]) == (0, 0, 1)
    assert "1 rows are taken over from the version before" in capsys.readouterr().out
    assert describe(usage).endswith("1 rows taken over")
