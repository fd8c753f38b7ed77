"""Every scheme against what it is said to be; matching and its gradients in float64; LoRA and merging."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.functional import gelu, normalize
from transformers import Blip2ForImageTextRetrieval

from facap.errors import ConfigError
from facap.model.adapters import is_adapter
from facap.model.baselines import Baseline
from facap.model.encoder import Encoder
from facap.model.fashionblip2 import FashionBlip2
from facap.model.matching import Matching, flatten, group_average, score, scores
from facap.model.saved import from_pretrained, save_merged, save_pretrained
from facap.model.text import Tokens
from tests.blip2 import TEXTS, save_base
from tests.blip2 import settings as model_settings

pytestmark = pytest.mark.usefixtures("one_thread")
SCHEMES = ["anchored", "multi_head", "mean", "best_token", "combiner", "sum", "text_only", "image_only"]


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


def pictures(count: int) -> list[PIL.Image.Image]:
    rng = np.random.default_rng(0)
    return [PIL.Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8)) for _ in range(count)]


def encoder(base: Path, **changes: object) -> Encoder:
    model = FashionBlip2.from_base(model_settings(base, **changes)).eval()
    return Encoder(model, Tokens.load(str(base), 64))


def disturb(model: FashionBlip2) -> None:
    """As if trained: all that is trained is moved a little."""
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in model.trained().values():
            tensor.add_(torch.randn_like(tensor) * 0.05)


@pytest.mark.parametrize("scheme", ["sum", "combiner", "text_only", "image_only"])
def test_what_is_composed_starts_at_the_untrained_baseline(base_folder: Path, scheme: str) -> None:
    ours = encoder(base_folder, matching=scheme)
    baseline = Baseline.load(str(base_folder), "sum" if scheme == "combiner" else scheme)  # type: ignore[arg-type]
    images = pictures(3)
    np.testing.assert_allclose(ours.candidates(images), baseline.candidates(images), atol=1e-5)
    np.testing.assert_allclose(ours.queries(images, TEXTS), baseline.queries(images, TEXTS), atol=1e-5)


def test_mean_is_the_mean_of_the_projected_query_tokens(base_folder: Path) -> None:
    ours = encoder(base_folder, matching="mean")
    hf = Blip2ForImageTextRetrieval.from_pretrained(base_folder).eval()
    ids, mask = ours.tokens(TEXTS)
    pixels = torch.stack([ours.transform(image) for image in pictures(3)])
    with torch.inference_mode():
        states = ours.model.query_states(ours.model.encode_image(pixels), ids, mask)
        expected = normalize(normalize(hf.vision_projection(states), dim=-1).mean(1), dim=-1)
    np.testing.assert_allclose(ours.queries(pictures(3), TEXTS), expected.numpy(), atol=1e-5)


def test_anchored_starts_at_the_sum_of_picture_and_text_as_blip2_aligned_them(base_folder: Path) -> None:
    """With all of the projection's channels a row's cosine with the text is that of BLIP-2's own vectors."""
    ours = encoder(base_folder, matching="anchored", match_dim=20)
    hf = Blip2ForImageTextRetrieval.from_pretrained(base_folder).eval()
    ids, mask = ours.tokens(TEXTS)
    pixels = torch.stack([ours.transform(image) for image in pictures(3)])
    with torch.inference_mode():
        picture = ours.model.candidate_states(ours.model.encode_image(pixels))
        groups = torch.einsum("tq,bqh->bth", group_average(8, 6), picture)
        images = normalize(hf.vision_projection(groups), dim=-1)
        texts = normalize(hf.text_projection(ours.model.text_state(ids, mask)), dim=-1)
        rows = ours.model.matching(picture)
        word = normalize(ours.model.matching.text(ours.model.text_state(ids, mask)), dim=-1)
    expected = torch.einsum("btp,bp->bt", images, texts)
    torch.testing.assert_close(torch.einsum("btc,bc->bt", rows, word), expected, atol=1e-5, rtol=0)
    queries = torch.from_numpy(ours.queries(pictures(3), TEXTS)).unflatten(1, (6, 20)) * 6**0.5
    torch.testing.assert_close(queries, normalize(rows + word[:, None], dim=-1), atol=1e-5, rtol=0)


def test_a_batchs_pictures_are_read_once_and_give_the_same_vectors(base_folder: Path) -> None:
    """Training reads every distinct picture apart once; serving embeds each side by itself."""
    ours = encoder(base_folder)
    model = ours.model
    pixels = torch.stack([ours.transform(image) for image in pictures(4)])
    ids, mask = ours.tokens(TEXTS)
    references, candidates = torch.tensor([0, 2, 0]), torch.tensor([1, 3, 2, 0])
    disturb(model)
    with torch.inference_mode():
        query, candidate, _ = model(pixels, references, candidates, ids, mask)
        torch.testing.assert_close(query, model.embed_query(pixels[references], ids, mask), atol=1e-5, rtol=0)
        torch.testing.assert_close(candidate, model.embed_candidate(pixels[candidates]), atol=1e-5, rtol=0)


def test_best_token_is_the_best_of_the_candidates_tokens(base_folder: Path) -> None:
    """The query from a text behind the fused tokens; the score by a loop over pairs and tokens."""
    ours = encoder(base_folder, matching="best_token")
    hf = Blip2ForImageTextRetrieval.from_pretrained(base_folder).eval()
    images = pictures(4)
    ids, mask = ours.tokens(TEXTS)
    pixels = torch.stack([ours.transform(image) for image in images])
    with torch.inference_mode():
        tokens = hf(pixels, *ours.tokens(TEXTS + TEXTS[:1])).image_embeds  # 4 x 8 x 20
        fused = ours.model.query_states(hf.vision_model(pixels[:3]).last_hidden_state, ids, mask)
        seen = torch.cat([mask.new_ones(3, 8), mask], dim=1)
        embedded = hf.embeddings(input_ids=ids, query_embeds=fused)
        read = hf.qformer(query_embeds=embedded, query_length=0, attention_mask=seen).last_hidden_state
        query = normalize(hf.text_projection(read[:, 8]), dim=-1)
    expected = [[max(float(q @ token) for token in candidate) for candidate in tokens] for q in query]
    queries, candidates = ours.queries(images[:3], TEXTS), ours.candidates(images)
    assert queries.shape == (3, 20) and candidates.shape == (4, 160) == (4, ours.dim)
    found = scores(torch.from_numpy(queries), torch.from_numpy(candidates))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_learns_and_comes_back_from_disk(base_folder: Path, tmp_path: Path, scheme: str) -> None:
    ours = encoder(base_folder, matching=scheme)
    model = ours.model.train()
    pixels = torch.stack([ours.transform(image) for image in pictures(4)])
    query, candidate, temperature = model(
        pixels, torch.arange(3), torch.arange(1, 4), *ours.tokens(TEXTS), True
    )
    (scores(query, candidate) / temperature).logsumexp(1).sum().backward()
    missing = {n for n, p in model.named_parameters() if n.startswith("matching.") and p.grad is None}
    assert not missing
    disturb(model)
    save_pretrained(model, ours.tokens, tmp_path)
    again, before = Encoder.load(tmp_path), Encoder(model, ours.tokens)
    np.testing.assert_array_equal(again.queries(pictures(3), TEXTS), before.queries(pictures(3), TEXTS))
    np.testing.assert_array_equal(again.candidates(pictures(3)), before.candidates(pictures(3)))


@pytest.mark.parametrize("mixer", ["linear", "mlp"])
def test_scores_and_gradients_are_those_of_the_figure(mixer: str) -> None:
    """A straight transcription in float64, one pair and one match token at a time, gradients by autograd."""
    torch.manual_seed(1)
    match = Matching(num_queries=8, query_dim=10, num_tokens=3, dim=4, mixer=mixer).double()
    for parameter in match.parameters():
        torch.nn.init.normal_(parameter)
    x, y = (torch.randn(n, 8, 10, dtype=torch.float64, requires_grad=True) for n in (2, 5))
    leaves = [x, y, *match.parameters()]
    weight_of = dict(match.named_parameters())

    def mix(name: str, values: torch.Tensor) -> torch.Tensor:
        out = weight_of[f"{name}.linear.weight"] @ values + weight_of[f"{name}.linear.bias"]
        if mixer == "mlp":
            hidden = weight_of[f"{name}.branch.0.weight"] @ values + weight_of[f"{name}.branch.0.bias"]
            branch = weight_of[f"{name}.branch.2.weight"] @ gelu(hidden)
            out = out + branch + weight_of[f"{name}.branch.2.bias"]
        return out

    def rows(states_QH: torch.Tensor) -> list[torch.Tensor]:
        mixed = torch.stack([mix("tokens", states_QH[:, h]) for h in range(10)], dim=1)  # 3 x 10
        channels = [mix("channels", mixed[t]) for t in range(3)]
        return [row / row.square().sum().sqrt() for row in channels]

    expected = torch.stack(
        [
            torch.stack([sum(a @ b for a, b in zip(rows(q), rows(c), strict=True)) for c in y])  # type: ignore[misc]
            for q in x
        ]
    )
    ours = score(match(x), match(y))
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=0)
    pull = torch.randn(2, 5, dtype=torch.float64)
    of_ours, of_theirs = (torch.autograd.grad((s * pull).sum(), leaves) for s in (ours, expected))
    for one, other in zip(of_ours, of_theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**16),
    order=st.permutations(range(5)),
    turned=st.permutations(range(4)),
    scale=st.floats(0.05, 20),
)
def test_what_matching_does_not_care_about(
    seed: int, order: list[int], turned: list[int], scale: float
) -> None:
    """Candidates in another order, match tokens in another order on both sides, and the states' scale."""
    generator = torch.Generator().manual_seed(seed)
    match = Matching(num_queries=6, query_dim=7, num_tokens=4, dim=3, mixer="linear").double()
    for name, parameter in match.named_parameters():
        if not name.endswith("bias"):  # without them all is linear until the norm
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x, y = (torch.randn(n, 6, 7, generator=generator, dtype=torch.float64) for n in (2, 5))
    query, candidate = match(x), match(y)
    expected = score(query, candidate)
    torch.testing.assert_close(score(query, match(y[order])), expected[:, order])
    torch.testing.assert_close(score(query[:, turned], candidate[:, turned]), expected)
    torch.testing.assert_close(score(match(scale * x), candidate), expected)
    torch.testing.assert_close(scores(flatten(query), flatten(candidate)) * 4, expected)
    assert (expected.abs() <= 4 + 1e-9).all()
    torch.testing.assert_close(score(candidate, candidate).diagonal(), torch.full((5,), 4.0).double())


@pytest.mark.parametrize("placement", ["mlp", "attention", "both"])
def test_lora_is_trained_in_the_same_places_and_merged_away(
    base_folder: Path, tmp_path: Path, placement: str
) -> None:
    ours = encoder(base_folder, adapter="lora", adapter_width=4, adapter_placement=placement)
    vision = [name for name in ours.model.trained() if name.startswith("vision_model.")]
    assert vision and all(is_adapter(name) and ".layers.2." in name for name in vision)
    assert len(vision) == {"mlp": 4, "attention": 4, "both": 8}[placement]
    images = pictures(3)
    fresh = encoder(base_folder)
    np.testing.assert_allclose(ours.candidates(images), fresh.candidates(images), atol=1e-6)
    disturb(ours.model)
    save_merged(ours.model, ours.tokens, tmp_path)
    assert not any("lora" in name for name in load_file(tmp_path / "model.safetensors"))
    merged = Encoder.load(tmp_path)
    np.testing.assert_allclose(merged.queries(images, TEXTS), ours.queries(images, TEXTS), atol=1e-5)
    np.testing.assert_allclose(merged.candidates(images), ours.candidates(images), atol=1e-5)
    assert np.abs(merged.candidates(images) - fresh.candidates(images)).max() > 1e-3


def test_a_merged_model_needs_no_base(base_folder: Path, tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    ours = encoder(base, mixer="mlp")
    disturb(ours.model)
    save_merged(ours.model, ours.tokens, tmp_path / "whole")
    before = ours.queries(pictures(3), TEXTS)
    (tmp_path / "base").rename(tmp_path / "gone")
    model, tokens = from_pretrained(str(tmp_path / "whole"))
    np.testing.assert_array_equal(Encoder(model, tokens).queries(pictures(3), TEXTS), before)
    with pytest.raises(ConfigError, match="has its settings"):
        from_pretrained(str(tmp_path / "whole"), mixer="linear")
    fresh, _ = from_pretrained(str(base_folder), match_dim=16, num_match_tokens=6)
    assert fresh.config.match_dim == 16 and fresh.dim == 96
