"""Two passes against one, and the loss's options against straight transcriptions."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from facap.errors import ConfigError
from facap.model.fashionblip2 import FashionBlip2
from facap.model.saved import save_pretrained
from facap.model.text import Tokens
from facap.train.config import TrainConfig
from facap.train.loss import contrastive_loss
from facap.train.setup import prepare_blocks, starting_model
from facap.train.step import Rows, backward
from tests.blip2 import SMALL_QFORMER, SMALL_VISION, TEXTS, save_base, settings

pytestmark = pytest.mark.usefixtures("one_thread")
BATCH = 7


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"), dropout=0.2)


def rows(base_folder: Path, references: bool, start: int, stop: int) -> Rows:
    """Triplets start to stop of seven; each piece has the distinct pictures of its own."""
    pixels = torch.randn(BATCH + 1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    ids, mask = Tokens.load(str(base_folder), 64)([TEXTS[i % len(TEXTS)] for i in range(BATCH)])
    reference, target = torch.arange(start, stop), torch.arange(start, stop) + 1
    used = torch.unique(torch.cat([reference, target]))
    reference, target = torch.searchsorted(used, reference), torch.searchsorted(used, target)
    return Rows(
        images=pixels[used],
        below_trunk=True,
        query_images_B=reference,
        candidate_images_G=torch.cat([target, reference]) if references else target,
        input_ids_BL=ids[start:stop],
        attention_mask_BL=mask[start:stop],
    )


def gradients(
    base_folder: Path, config: TrainConfig, cuts: list[int], training: bool
) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    model = FashionBlip2.from_base(settings(base_folder)).train(training)
    prepare_blocks(model, config)
    products = [torch.tensor([1, 2, 3, 2, 5, 6, 7]), torch.tensor([9, 1, 8, 3, 4, 5, 6])]
    bounds = [0, *cuts, BATCH]
    pieces = [
        rows(base_folder, config.reference_negatives, start, stop)
        for start, stop in itertools.pairwise(bounds)
    ]
    torch.manual_seed(6)
    loss, temperature = backward(model, pieces, products, config)
    assert temperature == pytest.approx(0.07)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {"loss": torch.tensor(loss)}


@pytest.mark.parametrize("references", [True, False])
@pytest.mark.parametrize("options", [{}, {"two_way": False, "hardness": 0.5}])
def test_two_passes_give_the_gradients_of_one(base_folder: Path, references: bool, options: dict) -> None:
    config = TrainConfig(reference_negatives=references, **options)
    plain = gradients(base_folder, config, [], training=False)
    for cuts in ([3], [2, 4, 6]):
        pieces = gradients(base_folder, config, cuts, training=False)
        assert pieces.keys() == plain.keys() and "log_temperature" in plain
        for name, gradient in plain.items():
            torch.testing.assert_close(pieces[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def assert_same_gradients(base: Path, option: dict[str, bool], training: bool) -> None:
    plain = gradients(base, TrainConfig(), [], training)
    found = gradients(base, TrainConfig(**option), [], training)
    assert found.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_blocks_that_recompute_give_the_same_gradients(base_folder: Path) -> None:
    """Dropout included."""
    assert_same_gradients(base_folder, {"recompute": True}, training=True)


@pytest.mark.slow
def test_compiled_blocks_give_the_same_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of each kind, as compiling takes its time; without dropout, whose numbers are others."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))  # /tmp's is everybody's
    one = {"num_hidden_layers": 1}
    base = save_base(tmp_path, vision=SMALL_VISION | one, qformer=SMALL_QFORMER | one)
    assert_same_gradients(base, {"compile": True}, training=False)


def test_the_second_pass_drops_out_what_the_first_did(base_folder: Path) -> None:
    """With dropout the loss falls along its gradient as fast as the gradient says."""
    config = TrainConfig()

    def step_along(direction: torch.Tensor | None, length: float) -> tuple[float, torch.Tensor]:
        torch.manual_seed(5)
        model = FashionBlip2.from_base(settings(base_folder)).train()
        if direction is not None:
            with torch.no_grad():
                model.query_tokens.add_(length * direction)
        products = [torch.arange(BATCH), torch.arange(BATCH) + 50]
        torch.manual_seed(6)
        pieces = [rows(base_folder, True, 0, 4), rows(base_folder, True, 4, BATCH)]
        loss, _ = backward(model, pieces, products, config)
        assert model.query_tokens.grad is not None
        return loss, model.query_tokens.grad

    _, gradient = step_along(None, 0)
    direction, length = gradient / gradient.norm(), 0.02
    rise = step_along(direction, length)[0] - step_along(direction, -length)[0]
    assert rise / (2 * length) == pytest.approx(gradient.norm().item(), rel=0.05)


def test_training_goes_on_from_a_trained_model(base_folder: Path, tmp_path: Path) -> None:
    model = FashionBlip2.from_base(settings(base_folder))
    with torch.no_grad():
        for parameter in model.trained().values():
            parameter.add_(0.1)
    save_pretrained(model, Tokens.load(str(base_folder), 64), tmp_path)
    again = starting_model(TrainConfig(model=settings(base_folder), start_from=str(tmp_path)))
    assert all(torch.equal(tensor, again.trained()[name]) for name, tensor in model.trained().items())
    with pytest.raises(ConfigError, match=r"another train\.model\.mixer \(linear\)"):
        starting_model(TrainConfig(model=settings(base_folder, mixer="mlp"), start_from=str(tmp_path)))
    fresh = starting_model(TrainConfig(model=settings(base_folder), temperature=0.2))
    assert fresh.temperature().item() == pytest.approx(0.2)


def test_hard_negatives_weigh_more() -> None:
    """One row worked out: weights exp(b * logit) over the negatives, scaled to a mean of 1."""
    query = normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    candidate = normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    product = torch.tensor([1, 2, 3, 4, 1])  # the last is no negative of the first
    t, b = 0.5, 0.7
    expected = []
    for i in range(3):
        logits = [float(query[i] @ candidate[j]) / t for j in range(5)]
        others = [logits[j] for j in range(5) if j != i and product[j] != product[i]]
        weights = [math.exp(b * v) for v in others]
        weights = [w * len(weights) / sum(weights) for w in weights]
        total = math.exp(logits[i]) + sum(w * math.exp(v) for w, v in zip(weights, others, strict=True))
        expected.append(math.log(total) - logits[i])
    loss = contrastive_loss(query, candidate, product, torch.tensor([t]), two_way=False, hardness=b)
    assert loss.item() == pytest.approx(sum(expected) / 3, abs=1e-5)
    plain = contrastive_loss(query, candidate, product, torch.tensor([t]), two_way=False)
    assert loss.item() > plain.item()


def test_a_row_without_negatives_has_no_loss_with_hard_negatives_either() -> None:
    vectors = normalize(torch.randn(4, 3), dim=1).requires_grad_()
    loss = contrastive_loss(vectors, vectors, torch.full((4,), 3), torch.tensor([0.1]), hardness=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and vectors.grad is not None
    assert vectors.grad.isfinite().all()
