"""The presets of cluster/presets and README's file: what this version of the code, and of vLLM, accepts."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import BaseModel

from facap.annotate import engine
from facap.config import parse
from facap.model import checkpoints
from facap.model.checkpoints import is_shipped
from facap.store import Store
from facap.train.budget import plan
from facap.train.config import TrainConfig
from jobs.job_settings import Settings, load_settings
from jobs.shipped_models import USED_BY, check

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "cluster" / "presets"
TRAININGS = (("tiny_cpu",), ("facap_blip2_vitg_8gpu",), ("facap_blip2_vitg_8gpu", "fashioniq_finetune_8gpu"))
STACKS = (("annotate_7b",), ("annotate_7b", "annotate_7b_2gpu"))


def stacked(*names: str) -> Settings:
    words = [word for name in names for word in ("--config", str(PRESETS / f"{name}.yaml"))]
    return parse(Settings, words, "quickstart", "")


def readme() -> dict:
    """The settings that README.md shows for a catalogue of one's own."""
    text = (ROOT / "README.md").read_text().split("## Your own catalogue")[1]
    return yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """README's file of settings, as a job reads it."""
    file = tmp_path_factory.mktemp("readme") / "shop.yaml"
    file.write_text(yaml.safe_dump(readme()))
    return load_settings(["--config", str(file)], "quickstart", "")


def annotates_for_real(settings: Settings) -> None:
    """FACap's captions have up to 550 characters, its texts up to 44 words; four characters are a token."""
    assert settings.caption.max_tokens >= 200 and settings.modify.max_tokens >= 96
    for stage in (settings.caption, settings.modify):
        assert stage.chat and stage.template.endswith("_fashion") and not is_shipped(stage.model)
        own = stage.endpoint.url == ""
        assert not own or (stage.engine.device == "gpu" and stage.engine.max_model_len >= 2048)
        assert not own or min(stage.engine.max_num_seqs, stage.engine.batch_size) >= 128
    assert settings.caption.prepare == "as_is"


def trains_for_real(train: TrainConfig) -> None:
    """None of the embedded size's values that a model of ViT-g's size would be held back by."""
    toy = TrainConfig()
    assert not is_shipped(train.model.base) and train.model.adapter_blocks is None
    assert train.model.match_dim >= 4 * toy.model.match_dim and train.model.adapter_width > 128
    assert train.model.max_text_tokens >= 96
    assert (train.device, train.precision, train.decode_once) == ("gpu", "bf16", False)
    assert train.batch_size >= 128 and train.epochs > toy.epochs
    assert train.lr_qformer <= 2e-5 and max(train.lr_adapters, train.lr_matching) <= 1e-4


def test_the_settings_of_the_readme_are_those_of_a_real_run(shop: Settings) -> None:
    annotates_for_real(shop)
    trains_for_real(shop.train)
    assert not is_shipped(shop.pairs.base) and shop.pairs.base == shop.train.model.base
    assert shop.verify.engine == shop.caption.engine and shop.verify.model == shop.caption.model
    check([*USED_BY, "catalog"], Store("nowhere"), shop)  # no shipped model is left in it


@pytest.mark.parametrize("section", ["caption", "modify", "train"])
def test_the_readme_and_the_presets_agree(shop: Settings, section: str) -> None:
    """In all that both set, but for what is of the data's size and the node's."""
    sizes = {"batch_size", "micro_batch", "epochs", "num_engines", "checkpoint_every_steps", "engine_kwargs"}
    presets = stacked("annotate_7b", "facap_blip2_vitg_8gpu")
    assert not list(differing(getattr(shop, section), getattr(presets, section), sizes))


def differing(ours: BaseModel, theirs: BaseModel, passed_over: set[str]) -> Iterator[str]:
    """The settings that `theirs` sets and that `ours` has otherwise."""
    for name in sorted(theirs.model_fields_set - passed_over):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if isinstance(other, BaseModel):
            yield from differing(mine, other, passed_over)
        elif mine != other:
            yield f"{name}: {mine} and {other}"


@pytest.mark.parametrize("stack", [*STACKS[:1], ("annotate_endpoint",)], ids="+".join)
def test_presets_annotate_with_room_for_real_captions(stack: tuple[str, ...]) -> None:
    annotates_for_real(stacked(*stack))


@pytest.mark.parametrize("stack", TRAININGS[1:], ids="+".join)
def test_presets_train_at_the_real_size(stack: tuple[str, ...]) -> None:
    trains_for_real(stacked(*stack).train)


def test_every_preset_is_tried_here() -> None:
    tried = {name for stack in STACKS + TRAININGS for name in stack} | {"annotate_endpoint"}
    assert {path.stem for path in PRESETS.glob("*.yaml")} == tried


@pytest.mark.parametrize("stack", STACKS, ids="+".join)
def test_the_engine_takes_all_that_a_preset_says(stack: tuple[str, ...]) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    settings = stacked(*stack)
    known = {field.name for field in fields(AsyncEngineArgs)}
    for stage in (settings.caption, settings.modify):
        kwargs = engine.engine_kwargs(stage)
        assert set(kwargs) <= known and kwargs["enable_prefix_caching"] is True
        args = AsyncEngineArgs(
            model=checkpoints.resolve("facap/tiny-captioner"), **kwargs
        )  # one that is here
        assert args.tensor_parallel_size == len(stack)
        assert stage.chat and stage.engine.device == "gpu" and stage.max_tokens < stage.engine.max_model_len
    budget = engine.engine_kwargs(settings.caption)["mm_processor_kwargs"]
    assert budget["max_pixels"] == 512 * 28 * 28  # tokens of a picture, at 28 x 28 px each


def test_a_server_is_asked_and_no_engine() -> None:
    settings = stacked("annotate_endpoint")
    for stage, host in ((settings.caption, "vlm"), (settings.modify, "llm")):
        assert (
            stage.chat and urlsplit(stage.endpoint.url).hostname == host and stage.endpoint.max_requests == 64
        )
        assert engine.starting(stage) == f"asking {stage.endpoint.url}"


@pytest.mark.slow
@pytest.mark.parametrize("stack", TRAININGS[:2], ids="+".join)
def test_a_training_is_planned_without_a_gpu(stack: tuple[str, ...]) -> None:
    """Parameters as published (BLIP-2's ViT-g has 1.0 of 1.2 billion), and memory that such GPUs have."""
    found = plan(stacked(*stack).train)
    if stack == ("tiny_cpu",):
        assert found == plan(TrainConfig()) and found.cached_bytes_per_picture == 65 * 192 * 4
    else:
        assert 1.15e9 < found.parameters < 1.25e9 and 150e6 < found.trained < 250e6
        assert found.at_once == 16 and found.batch == 128 and found.bytes < 40 * 2**30
        forward = 2 * (found.parameters - found.trained) * 257 * 2 * 1024  # of the frozen encoder alone
        assert 3 < found.flops / forward < 4.5  # two forward passes, and one back through it to the adapters
        assert all(word in "\n".join(found.lines()) for word in ("trained", "TFLOP", "GiB"))


def test_fine_tuning_is_of_the_model_that_was_pretrained() -> None:
    first, then = (stacked(*stack).train for stack in TRAININGS[1:])
    assert first.model == then.model and (then.epochs, then.batch_size) == (30, 128)


def test_settings_of_a_preset_give_way_to_those_of_the_file_after_it(tmp_path: Path) -> None:
    own = tmp_path / "shop.yaml"
    own.write_text("caption: {engine: {num_engines: 8}}\nmodify: {model: /models/mine}\n")
    words = ["--config", str(PRESETS / "annotate_7b.yaml"), "--config", str(own), "--modify.max_tokens", "50"]
    settings = parse(Settings, words, "quickstart", "")
    assert settings.caption.engine.num_engines == 8 and settings.caption.engine.max_num_seqs == 128
    modify = settings.modify
    assert (modify.model, modify.max_tokens, modify.chat) == ("/models/mine", 50, True)
