"""FashionBLIP-2 against Hugging Face's own BLIP-2 code and against straight transcriptions."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from torch.nn.functional import normalize
from transformers import Blip2ForImageTextRetrieval

from benchmarks import blip2_parity
from facap.errors import ConfigError, FacapError, ModelMissing
from facap.model.adapters import Adapter
from facap.model.baselines import Baseline
from facap.model.checkpoints import weights_hash
from facap.model.config import FashionBlip2Config
from facap.model.encoder import Encoder
from facap.model.fashionblip2 import FashionBlip2
from facap.model.matching import group_average
from facap.model.saved import from_pretrained, load_pretrained, save_pretrained
from facap.model.text import Tokens
from tests.blip2 import BERT_BASE, TEXTS, VIT_G, save_base, settings

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def hf(base_folder: Path) -> Blip2ForImageTextRetrieval:
    return Blip2ForImageTextRetrieval.from_pretrained(base_folder).eval()


def pictures(count: int) -> list[PIL.Image.Image]:
    rng = np.random.default_rng(0)
    return [PIL.Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8)) for _ in range(count)]


def test_fresh_adapter_is_the_identity() -> None:
    x = torch.randn(2, 5, 12)
    assert torch.equal(Adapter(12, 4, "gelu")(x), x)


def assert_starts_at_blip2(model: FashionBlip2, hf: Blip2ForImageTextRetrieval, folder: Path) -> None:
    """Image states, both Q-Former paths and so the ITC and ITM heads are Hugging Face's, to 1e-5."""
    pixels = torch.randn(2, 3, model.image_px, model.image_px)
    ids, mask = Tokens.load(str(folder), 64)(TEXTS[:2])
    for ours, theirs in blip2_parity.pairs(model, hf, pixels, ids, mask):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("placement", ["mlp", "attention", "both"])
@pytest.mark.parametrize("blocks", [0, 1, None])
def test_starts_at_blip2(
    base_folder: Path, hf: Blip2ForImageTextRetrieval, placement: str, blocks: int | None
) -> None:
    changes = {"adapter_placement": placement, "adapter_blocks": blocks}
    assert_starts_at_blip2(FashionBlip2.from_base(settings(base_folder, **changes)).eval(), hf, base_folder)


@pytest.mark.slow
def test_starts_at_blip2_with_the_shape_of_vit_g(tmp_path: Path) -> None:
    """The published checkpoints' widths, heads, patches and 32 query tokens, at one block and two layers."""
    save_base(tmp_path, vision=VIT_G, qformer=BERT_BASE, num_query_tokens=32)
    hf = Blip2ForImageTextRetrieval.from_pretrained(tmp_path).eval()
    model = FashionBlip2.from_base(settings(tmp_path, adapter_blocks=None)).eval()
    assert_starts_at_blip2(model, hf, tmp_path)


@pytest.mark.slow
def test_the_published_checkpoint_loads_by_name_where_its_weights_are() -> None:
    name = "Salesforce/blip2-itm-vit-g"
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        pytest.skip(f"{name} is not in this machine's cache of checkpoints (5 GB)")
    model, tokens = from_pretrained(name, adapter_blocks=None, match_dim=256)
    pixels = torch.randn(1, 3, model.image_px, model.image_px)
    with torch.inference_mode():
        query = model.embed_query(pixels, *tokens(["in navy and without sleeves"]))
        candidate = model.embed_candidate(pixels)
    assert query.shape == candidate.shape == (1, 12 * 256)
    torch.testing.assert_close(query.norm(dim=1), torch.ones(1))


def test_padding_changes_nothing(base_folder: Path) -> None:
    model = FashionBlip2.from_base(settings(base_folder)).eval()
    tokens = Tokens.load(str(base_folder), 64)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        alone = model.embed_query(pixels, *tokens([TEXTS[1]]))
        together = model.embed_query(pixels.expand(3, -1, -1, -1), *tokens(TEXTS))[1:2]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_group_average_covers_every_query_token_once() -> None:
    weight = group_average(16, 12)
    assert torch.allclose(weight.sum(dim=1), torch.ones(12))
    assert ((weight > 0).sum(dim=0) == 1).all()


def test_only_the_encoder_below_its_adapters_is_frozen(base_folder: Path) -> None:
    model = FashionBlip2.from_base(settings(base_folder, adapter_blocks=1))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(name.startswith("vision_model.") for name in frozen)
    trained = [name for name in model.trained() if name.startswith("vision_model.")]
    assert trained and all(".adapter." in name and ".layers.2." in name for name in trained)


def test_save_and_load_round_trip(base_folder: Path, tmp_path: Path) -> None:
    model = FashionBlip2.from_base(settings(base_folder, mixer="mlp")).eval()
    with torch.no_grad():
        for parameter in model.trained().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    encoder = Encoder(model, Tokens.load(str(base_folder), 64))
    files = save_pretrained(model, encoder.tokens, tmp_path)
    assert files[-1] == "config.json" and {"model.safetensors", "preprocessing.json"} <= set(files)
    assert not any(
        name.startswith("vision_model") and ".adapter." not in name
        for name in load_file(tmp_path / "model.safetensors")
    )
    again = Encoder.load(tmp_path)
    images = pictures(3)
    np.testing.assert_array_equal(again.queries(images, TEXTS), encoder.queries(images, TEXTS))
    np.testing.assert_array_equal(again.candidates(images), encoder.candidates(images))
    assert again.queries(images, TEXTS).dtype == np.float32
    assert again.candidates(images).shape == (3, again.dim) == (3, 96)
    np.testing.assert_allclose(np.linalg.norm(again.queries(images, TEXTS), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(again.candidates(images), axis=1), 1, atol=1e-6)
    assert again.candidates([]).shape == (0, 96)


def test_another_base_is_refused(base_folder: Path, tmp_path: Path) -> None:
    model = FashionBlip2.from_base(settings(base_folder))
    save_pretrained(model, Tokens.load(str(base_folder), 64), tmp_path)
    config = tmp_path / "config.json"
    real = weights_hash(str(base_folder))
    config.write_text(config.read_text().replace(real, "0123456789ab"))
    with pytest.raises(FacapError, match=f"0123456789ab.*{real}"):
        load_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelMissing, match="not a complete FashionBLIP-2 folder"):
        load_pretrained(tmp_path)


def test_a_base_that_is_no_model_is_said(tmp_path: Path, base_folder: Path) -> None:
    with pytest.raises(ModelMissing, match=r"config\.json"):
        FashionBlip2.from_base(FashionBlip2Config(base=str(tmp_path)))
    with pytest.raises(ConfigError, match="only 72"):
        FashionBlip2.from_base(settings(base_folder, max_text_tokens=100))


def test_baselines_are_blip2s_contrastive_space(base_folder: Path, hf: Blip2ForImageTextRetrieval) -> None:
    images = pictures(3)
    image, text, both = (Baseline.load(str(base_folder), m) for m in ("image_only", "text_only", "sum"))
    pixels = torch.stack([image.transform(i) for i in images])
    ids, mask = image.tokens(TEXTS)
    with torch.inference_mode():
        itc = hf(pixels, input_ids=ids, attention_mask=mask)
    expected_image = normalize(itc.image_embeds.mean(dim=1), dim=-1).numpy()
    np.testing.assert_allclose(image.queries(images, TEXTS), expected_image, atol=1e-5)
    np.testing.assert_allclose(text.queries(images, TEXTS), itc.text_embeds.numpy(), atol=1e-5)
    for baseline in (image, text, both):
        np.testing.assert_allclose(baseline.candidates(images), expected_image, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(baseline.queries(images, TEXTS), axis=1), 1, atol=1e-6)
    total = expected_image + itc.text_embeds.numpy()
    np.testing.assert_allclose(
        both.queries(images, TEXTS), total / np.linalg.norm(total, axis=1, keepdims=True), atol=1e-5
    )
    with pytest.raises(ConfigError, match="choose one of image_only, text_only, sum"):
        Baseline.load(str(base_folder), "mean")  # type: ignore[arg-type]
