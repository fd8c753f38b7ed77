"""The optimiser of the tiny models, against torch's own; what they are shown; the captioner's tokenizer."""

import pytest
import torch

from facap.model import tiny
from facap.tiny.retrieval import hard_negatives
from facap.tiny.schedule import Muon
from facap.tiny.writer import push_apart


@pytest.mark.parametrize("shape", [(40, 64), (64, 40), (32, 32)])
def test_steps_are_those_of_torch_but_for_its_rounding(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    pairs = (
        (ours, Muon([ours], lr=2e-3, weight_decay=0.05)),
        (theirs, torch.optim.Muon([theirs], lr=2e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")),
    )
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        for parameter, optimizer in pairs:
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = (ours - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved and moved > 0.01  # torch computes with eight bits


def test_every_text_comes_back_to_the_letter() -> None:
    texts = [" a navy dress", '{"colour":"navy","detail":[],"caption":"a navy dress"}']
    tokenizer = tiny.build_speaker_tokenizer(texts * 20)
    for text in [*texts, ' Ünknown "words", {braces}\n and  blanks ']:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_words_that_became_alike_are_pushed_apart_and_no_others() -> None:
    torch.manual_seed(0)
    materials, sleeves = ["cotton", "denim", "leather", "satin", "knit"], ["sleeveless", "short", "puff"]
    tokenizer = tiny.build_tokenizer([" ".join(materials + sleeves)] * 5, add_special=False)
    model = tiny.build_writer(tokenizer)
    weight = model.get_input_embeddings().weight
    ids = [tokenizer(word)["input_ids"][0] for word in materials]
    with torch.no_grad():
        weight[ids] = weight[ids[0]] + 0.001 * torch.randn(len(ids), weight.shape[1])
    before = weight.detach().clone()
    assert push_apart(model, tokenizer) == ["material"]
    moved = (weight.detach() - before).norm(dim=-1)
    length = before[ids].norm(dim=-1).mean().expand(len(ids))
    torch.testing.assert_close(moved[ids], length, rtol=1e-3, atol=0)
    assert torch.count_nonzero(moved) == len(ids)
    assert push_apart(model, tokenizer) == []


def test_hard_negatives_are_wrong_and_mostly_near_misses() -> None:
    scores = torch.tensor([[9.0, 8.0, -9.0], [0.0, 9.0, 0.0], [1.0, 1.0, 1.0]])
    positive = torch.tensor([[True, False, False], [False, True, False], [True, True, True]])
    torch.manual_seed(0)
    drawn = torch.cat([hard_negatives(scores, positive) for _ in range(50)])
    assert set(drawn[:, 0].tolist()) == {0, 1}  # nothing is wrong with the third
    assert not positive[drawn[:, 0], drawn[:, 1]].any()
    assert drawn[drawn[:, 0] == 0][:, 1].float().mean() < 1.1  # the near miss, hardly ever the far one
    assert set(drawn[drawn[:, 0] == 1][:, 1].tolist()) == {0, 2}
