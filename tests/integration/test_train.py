"""What FSDP makes of the gradients of several ranks, and what is kept of their records.

Whole training runs are in the end-to-end test.
"""

import io
import itertools
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import torch.distributed as dist
import torch.multiprocessing

from facap.model.fashionblip2 import FashionBlip2
from facap.model.text import Tokens
from facap.progress import Progress
from facap.store import Store
from facap.tracking import open_client
from facap.train.config import TrainConfig
from facap.train.loss import contrastive_loss, global_loss
from facap.train.sharding import device_mesh, shard, whole
from facap.train.step import Rows, backward
from facap.train.tracking import Follower, TrainLog, open_run
from tests.blip2 import TEXTS, save_base, settings

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
    for i, all_rows in enumerate((query, target, reference), start=1):
        torch.testing.assert_close(torch.cat([values[i] for values in ranks]) / 2, all_rows.grad)
    torch.testing.assert_close((ranks[0][4] + ranks[1][4]) / 2, temperature.grad)


def _rows(base: Path, rank: int, start: int, stop: int) -> Rows:
    """Triplets start to stop of a rank's four, each with two pictures of its own."""
    pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(rank))
    ids, mask = Tokens.load(str(base), 64)([TEXTS[i % 3] for i in range(4)])
    index = torch.arange(stop - start)
    return Rows(
        images=pixels[2 * start : 2 * stop],
        below_trunk=True,
        query_images_B=2 * index,
        candidate_images_G=torch.cat([2 * index + 1, 2 * index]),
        input_ids_BL=ids[start:stop],
        attention_mask_BL=mask[start:stop],
    )


def _sharded_gradients(rank: int, address: str, base: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    products = [torch.arange(4) + 10 * rank, torch.arange(4) + 100 + 10 * rank]
    for name, cuts in {"one": [0, 4], "two": [0, 1, 3, 4]}.items():
        torch.manual_seed(5)
        model = FashionBlip2.from_base(settings(Path(base))).train()
        shard(model, device_mesh("cpu", 2), reshard_after_forward=name == "two")
        pieces = [_rows(Path(base), rank, a, b) for a, b in itertools.pairwise(cuts)]
        loss, _ = backward(model, pieces, products, TrainConfig())
        found = {n: whole(p.grad) for n, p in model.named_parameters() if p.grad is not None}
        if rank == 0:
            torch.save(found | {"loss": torch.tensor(loss)}, f"{out}/{name}.pt")
    dist.destroy_process_group()


def test_two_passes_over_sharded_ranks_give_the_gradients_of_one(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    address = f"file://{tmp_path}/rendezvous"
    torch.multiprocessing.spawn(_sharded_gradients, args=(address, str(base), str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"{name}.pt") for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one) > 20
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_what_a_killed_driver_had_not_read_is_kept_when_training_resumes(
    ray_session: None, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    client = open_client(store, "")
    run_id = open_run(client, "key", {})
    actor: Any = TrainLog.remote()  # type: ignore[attr-defined]
    log_file = tmp_path / "train.log"
    follower = Follower(
        actor, Progress("train", io.StringIO()), log_file, client, run_id, lambda queries: None
    )  # type: ignore[arg-type,return-value]

    def step(number: int) -> tuple[str, dict[str, Any]]:
        known = dict.fromkeys(("temperature", "grad_norm", "samples_per_s", "data_share"), 0.5)
        return "step", known | {"loss": number / 100, "step": number, "steps": 50, "epoch": 0}

    epoch = ("epoch", {"loss": 0.3, "val_recall_at_10": 0.9, "epoch": 0, "step": 30})
    for record in (step(10), step(20)):
        ray.get(actor.add.remote(*record))
    follower.poll()
    told = {"records": [step(10), step(20), step(30), epoch]}
    for record in (("resume", {"rank": 0, "step": 30}), ("retold", told), step(40)):
        ray.get(actor.add.remote(*record))
    follower.poll()
    losses = client.get_metric_history(run_id, "loss")
    assert sorted((entry.step, entry.value) for entry in losses) == [(n, n / 100) for n in (10, 20, 30, 40)]
    assert [entry.step for entry in client.get_metric_history(run_id, "val_recall_at_10")] == [30]
    lines = log_file.read_text().splitlines()
    assert sum("epoch loss" in text for text in lines) == 1
    assert sum("step 30/50" in text for text in lines) == 1 == sum("step 10/50" in text for text in lines)
