"""Training with the real Ray Train, FSDP2, Ray Data and MLflow, on coloured shapes and real colour words."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from facap.model.encoder import Encoder
from facap.progress import Progress
from facap.schemas import IMAGES, TRIPLETS, from_rows
from facap.store import Store
from facap.tracking import open_client
from facap.train.config import TrainConfig
from facap.train.loss import contrastive_loss, global_loss
from facap.train.pipeline import run

pytestmark = pytest.mark.slow

COLOURS = ("navy", "red", "white", "black", "green", "yellow", "purple", "pink")
SHAPES = ("ellipse", "rectangle", "line")


def picture(colour: str, shape: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = PIL.Image.new("RGB", (96, 112), tuple(int(v) for v in rng.integers(180, 255, 3)))
    draw = PIL.ImageDraw.Draw(image)
    x, y = (int(v) for v in rng.integers(5, 30, 2))
    box = (x, y, x + 55, y + 70)
    getattr(draw, shape)(box, fill=colour, **({"width": 20} if shape == "line" else {}))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def make_workspace(root: Path, num_train: int, num_val: int = 16) -> Store:
    """Triplets "make it <colour>" between pictures of one shape."""
    rng = np.random.default_rng(0)
    images = []
    for product in range(num_train // 2 + num_val):
        colour, shape = COLOURS[product % 8], SHAPES[product // 8 % 3]
        images.append(
            {
                "item_id": f"item{product}",
                "image_id": f"{product:032x}",
                "product_id": f"p{product}",
                "category": "dress",
                "url": "http://localhost/x.jpg",
                "status": "ok",
                "bytes": picture(colour, shape, product),
                "fetched_at": datetime.now(UTC),
            }
        )

    def triplet(index: int, split: str) -> dict:
        reference, target = (int(v) for v in rng.choice(len(images), 2, replace=False))
        text = f"make it {COLOURS[target % 8]}"
        return {
            "reference_id": images[reference]["image_id"],
            "target_id": images[target]["image_id"],
            "category": "dress",
            "modification": text,
            "split": split,
            "model": "test",
            "prompt_hash": "",
            "params_hash": "",
            "status": "ok",
        }

    store = Store(str(root))
    pictures = store.stage("images", IMAGES, "a")
    pictures.write(from_rows(images, IMAGES))
    pictures.commit(config={}, inputs={})
    rows = [triplet(i, "train") for i in range(num_train)] + [triplet(i, "val") for i in range(num_val)]
    stage = store.stage("triplets", TRIPLETS, "a")
    stage.write(from_rows(rows, TRIPLETS))
    stage.commit(config={}, inputs={})
    return store


def log_lines(store: Store) -> list[str]:
    return Path(store.path("logs", "train.log")).read_text().splitlines()


def losses(lines: list[str]) -> list[float]:
    return [float(line.split(" loss ")[1].split()[0]) for line in lines if "samples_per_s" in line]


def test_trains_and_the_model_loads(ray_session: None, tmp_path: Path) -> None:
    store = make_workspace(tmp_path / "work", 64)
    config = TrainConfig(epochs=4, batch_size=8, checkpoint_every_steps=100)
    report = run(store, config, Progress("train"))
    assert report.rows_out == 64 and not report.reused

    lines = log_lines(store)
    ranks = [line for line in lines if "FSDP2 on cpu" in line]
    assert len(ranks) == 2 and "rank 0 of 2" in "".join(ranks) and "rank 1 of 2" in "".join(ranks)
    seen = losses(lines)
    assert len(seen) == 3 and seen[-1] < 0.7 * seen[0], seen

    manifest = store.require("model")
    assert {"data-" + manifest.key + "/" + n for n in ("config.json", "model.safetensors")} <= set(
        manifest.files
    )
    assert manifest.extra["ranks"] == 2 and "val_recall_at_10" in manifest.extra["metrics"]
    client = open_client(store, "")
    logged = client.get_run(manifest.extra["mlflow_run_id"])
    assert logged.info.status == "FINISHED" and logged.data.params["ranks"] == "2"
    assert len(client.get_metric_history(logged.info.run_id, "loss")) == 32

    encoder = Encoder.load(store.folder("model"))
    shown = [PIL.Image.open(io.BytesIO(picture(c, "ellipse", 0))) for c in COLOURS]
    score = encoder.queries(shown[:1] * 8, [f"make it {c}" for c in COLOURS]) @ encoder.candidates(shown).T
    assert score.shape == (8, 8) and np.abs(score).max() <= 1.00001

    again = run(store, config, Progress("train"))
    assert again.reused and again.seconds < 5


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
