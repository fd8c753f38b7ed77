"""What FSDP makes of the gradients of several ranks; whole training runs are in the end-to-end test."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from facap.train.loss import contrastive_loss, global_loss

pytestmark = pytest.mark.slow


def _rank_gradients(rank: int, ranks: int, address: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=ranks)
    vectors, product, temperature = _batch()
    query, target, reference = (v.chunk(ranks)[rank].clone().requires_grad_() for v in vectors)
    products = product.chunk(2)
    loss = global_loss(
        query, target, reference, products[0].chunk(ranks)[rank], products[1].chunk(ranks)[rank], temperature
    )
    loss.backward()
    torch.save([loss.detach(), query.grad, target.grad, reference.grad, temperature.grad], f"{out}/{rank}.pt")
    dist.destroy_process_group()


def _batch() -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.nn.functional.normalize(torch.randn(8, 6, generator=generator), dim=1) for _ in range(3)]
    product = torch.tensor([1, 2, 3, 1, 5, 6, 6, 8, 11, 12, 13, 2, 15, 16, 17, 18])
    return vectors, product, torch.tensor([0.1], requires_grad=True)


def test_loss_of_two_ranks_is_that_of_one_process(tmp_path: Path) -> None:
    """After FSDP's averaging over ranks, the gradients are those of the whole batch in one process."""
    torch.multiprocessing.spawn(
        _rank_gradients, args=(2, f"file://{tmp_path}/rendezvous", str(tmp_path)), nprocs=2
    )
    vectors, product, temperature = _batch()
    query, target, reference = (v.clone().requires_grad_() for v in vectors)
    loss = contrastive_loss(query, torch.cat([target, reference]), product, temperature)
    loss.backward()
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for values in ranks:
        torch.testing.assert_close(values[0], loss.detach())
    for i, whole in enumerate((query, target, reference), start=1):
        torch.testing.assert_close(torch.cat([values[i] for values in ranks]) / 2, whole.grad)
    torch.testing.assert_close((ranks[0][4] + ranks[1][4]) / 2, temperature.grad)
