"""The pure parts of training: loss and mask, steps, learning rate, rows and log lines."""

import io
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from facap.errors import ContractError
from facap.model.config import FashionBlip2Config
from facap.schemas import IMAGES, TRIPLETS, from_rows
from facap.store import Store
from facap.train.checkpoint import Position
from facap.train.config import NOT_IN_KEY, TrainConfig
from facap.train.feed import epoch_batches, number, split_rows
from facap.train.loop import exhausted, steps_per_epoch
from facap.train.loss import contrastive_loss
from facap.train.samples import FRAME, GAP, SIDE, Sheets
from facap.train.setup import learning_rate
from facap.train.tracking import line


def softmax_loss(positive: float, others: list[float]) -> float:
    return math.log(sum(math.exp(v) for v in [positive, *others])) - positive


def test_loss_masks_the_same_product() -> None:
    """Rows 0 and 1 share a product, and reference 4 shows target 2's: worked out by hand."""
    query = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    target = torch.tensor([[0.8, 0.6], [1.0, 0.0], [0.6, -0.8]])
    reference = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.8, -0.6]])
    product = torch.tensor([7, 7, 8, 20, 8, 21])
    # query . (three targets, three references)
    dots = [
        [0.8, 1.0, 0.6, 0.0, -1.0, 0.8],
        [0.96, 0.6, -0.28, 0.8, -0.6, 0.0],
        [0.6, 0.0, -0.8, 1.0, 0.0, -0.6],
    ]
    t = 0.5
    s = [[v / t for v in row] for row in dots]
    forward = (
        softmax_loss(s[0][0], [s[0][2], s[0][3], s[0][4], s[0][5]])
        + softmax_loss(s[1][1], [s[1][2], s[1][3], s[1][4], s[1][5]])
        + softmax_loss(s[2][2], [s[2][0], s[2][1], s[2][3], s[2][5]])
    ) / 3
    backward = (
        softmax_loss(s[0][0], [s[2][0]])
        + softmax_loss(s[1][1], [s[2][1]])
        + softmax_loss(s[2][2], [s[0][2], s[1][2]])
    ) / 3
    loss = contrastive_loss(query, torch.cat([target, reference]), product, torch.tensor([t]))
    assert loss.item() == pytest.approx((forward + backward) / 2, abs=1e-6)


def test_a_batch_of_one_product_has_no_loss() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(4, 3), dim=1)
    loss = contrastive_loss(vectors, vectors.flip(0), torch.full((4,), 3), torch.tensor([0.1]))
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "batch", "ranks", "expected"),
    [(3201, 64, 2, (50, 32)), (10, 64, 2, (1, 5)), (7, 4, 3, (2, 1)), (2, 64, 2, (1, 1))],
)
def test_every_rank_has_the_same_steps(rows: int, batch: int, ranks: int, expected: tuple[int, int]) -> None:
    steps, local = steps_per_epoch(rows, batch, ranks)
    assert (steps, local) == expected
    assert steps * local * ranks <= rows


def test_learning_rate_rises_then_falls() -> None:
    factors = [learning_rate(step, steps=100, warmup=10) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == factors[10] == 1
    assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.001
    assert learning_rate(0, steps=5, warmup=0) == 1


def workspace(root: Path) -> Store:
    store = Store(str(root))
    now = datetime.now(UTC)
    images = [
        {
            "item_id": f"i{n}",
            "image_id": f"m{n}",
            "product_id": f"p{n}",
            "category": "dress",
            "url": "u",
            "status": "ok",
            "bytes": b"x",
            "fetched_at": now,
            "duplicate_of": "i0" if n == 3 else None,
        }
        for n in range(4)
    ]
    stage = store.stage("images", IMAGES, "k")
    stage.write(from_rows(images, IMAGES))
    stage.commit(config={}, inputs={})
    return store


def triplets(store: Store, rows: list[tuple[str, str, str, str]]) -> None:
    stage = store.stage("triplets", TRIPLETS, f"k{len(rows)}")
    constant = {"category": "dress", "modification": "x", "model": "m", "prompt_hash": "", "params_hash": ""}
    stage.write(
        from_rows(
            [
                constant | {"reference_id": r, "target_id": t, "split": split, "status": status}
                for r, t, split, status in rows
            ],
            TRIPLETS,
        )
    )
    stage.commit(config={}, inputs={})


def test_rows_of_a_split_with_their_products(tmp_path: Path) -> None:
    store = workspace(tmp_path)
    triplets(
        store,
        [("m0", "m1", "train", "ok"), ("m1", "m2", "train", "no_change"), ("m2", "m0", "val", "ok")],
    )
    rows = split_rows(store, "train")
    assert rows.to_pylist() == [
        {
            "reference_id": "m0",
            "target_id": "m1",
            "modification": "x",
            "captions": None,
            "reference_product": number("p0"),
            "target_product": number("p1"),
        }
    ]
    assert rows.schema.field("target_product").type == pa.int64()
    assert len(split_rows(store, "val")) == 1


def test_a_triplet_of_a_dropped_picture_is_said(tmp_path: Path) -> None:
    store = workspace(tmp_path)
    triplets(store, [("m0", "m3", "train", "ok")])
    with pytest.raises(ContractError, match="target_id that IMAGES does not keep"):
        split_rows(store, "train")


def test_settings_outside_the_key_exist() -> None:
    assert set(TrainConfig.model_fields) >= NOT_IN_KEY


def test_log_lines_name_rank_step_and_loss() -> None:
    start = {"rank": 1, "ranks": 2, "device": "cpu", "held": 1000, "total": 2000}
    text = line("start", start | {"pictures": 5, "steps": 9, "batch": 4})
    assert text.startswith("rank 1 of 2: FSDP2 on cpu, holds 1,000 of 2,000 sharded parameters")
    step = {"step": 3, "steps": 9, "epoch": 0, "loss": 1.5, "temperature": 0.07, "grad_norm": 1.0}
    assert line("step", step | {"samples_per_s": 80.0, "data_share": 0.01}).startswith(
        "step 3/9 epoch 0 loss 1.5000 temperature 0.0700"
    )
    assert line("resume", {"rank": 0, "step": 4}) == "rank 0: resumed from the checkpoint of step 4"


def test_ranks_share_one_shuffle_of_all_rows_and_epochs_differ() -> None:
    rows = pa.table({"reference_id": [f"{n:03}" for n in range(103)], "target_id": ["t"] * 103})

    def epoch(rank: int, number: int) -> list[str]:
        batches = list(epoch_batches(rows, 10, rank, 2, [7, number]))
        assert [len(batch["target_id"]) for batch in batches] == [10] * 5
        return [name for batch in batches for name in batch["reference_id"]]

    first = epoch(0, 0) + epoch(1, 0)
    assert len(set(first)) == len(first) == 100
    assert epoch(0, 0) == epoch(0, 0) != epoch(0, 1)
    assert set(first) != set(epoch(0, 1) + epoch(1, 1))  # what is left out changes too
    assert not list(epoch_batches(rows.slice(0, 19), 10, 0, 2, [7, 0]))


def test_two_captions_are_read_in_four_ways_and_alike_on_any_number_of_ranks() -> None:
    """A quarter each, drawn anew in every pass; what has no captions keeps its text."""
    table = {
        "reference_id": [f"{n:03}" for n in range(240)],
        "modification": ["Shorter and in red"] * 200 + ["alone"] * 40,
        "captions": [["shorter", "in red."]] * 200 + [None] * 40,
    }
    rows = pa.table(table)

    def read(ranks: int, number: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for rank in range(ranks):
            for batch in epoch_batches(rows, 24 // ranks, rank, ranks, [7, number], mix_captions=True):
                found |= zip(batch["reference_id"], batch["modification"], strict=True)
        return found

    first = read(1, 0)
    assert first == read(2, 0) == read(4, 0) != read(1, 1)
    counts = Counter(first.values())
    ways = ("Shorter and in red", "In red and shorter", "shorter", "in red.")
    assert counts.keys() == {*ways, "alone"} and counts["alone"] == 40
    assert all(30 <= counts[way] <= 70 for way in ways), counts  # 50 each; 3.3 deviations
    plain = epoch_batches(rows, 24, 0, 1, [7, 0])
    assert {text for batch in plain for text in batch["modification"]} == {"Shorter and in red", "alone"}


def test_it_stops_when_the_best_epoch_is_old() -> None:
    assert not exhausted(Position(step=50), 10)  # nothing was measured yet
    at = Position(step=10).after(0.3)
    assert at == Position(10, 0.3, 10, 10)
    at = replace(at, step=20).after(0.3)  # of equals the later one is kept, but nothing rose
    assert at == Position(20, 0.3, 10, 20)
    at = replace(at, step=30).after(0.2)
    assert at == Position(30, 0.3, 10, 20)
    assert exhausted(at, 20) and not exhausted(at, 21) and not exhausted(at, 0)
    assert replace(at, step=40).after(0.4) == Position(40, 0.4, 40, 40)


def test_settings_that_cannot_be_are_said() -> None:
    with pytest.raises(ValidationError, match="min_workers is more"):
        TrainConfig(min_workers=3, num_workers=2)
    with pytest.raises(ValidationError, match="reference_negatives"):
        TrainConfig(model=FashionBlip2Config(matching="image_only"))


def test_a_sheet_shows_what_was_found_and_frames_the_target(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    now = datetime.now(UTC)
    stage = store.stage("images", IMAGES, "k")
    colours = ("red", "green", "blue")
    rows = []
    for colour in colours:
        data = io.BytesIO()
        PIL.Image.new("RGB", (40, 60), colour).save(data, "PNG")
        rows.append(
            {"item_id": colour, "image_id": colour, "product_id": colour, "category": "dress", "url": "u"}
            | {"status": "ok", "bytes": data.getvalue(), "fetched_at": now}
        )
    stage.write(from_rows(rows, IMAGES))
    stage.commit(config={}, inputs={})
    query = {
        "reference_id": "red",
        "modification": "in blue",
        "target_id": "blue",
        "found": ["green", "blue"],
    }
    sheet = Sheets(store)([query, query])
    step = SIDE + GAP
    assert sheet.size == (4 * step + GAP, 2 * step + GAP)
    middle = GAP + SIDE // 2
    assert [sheet.getpixel((middle + x * step, middle + step)) for x in (0, 2, 3)] == [
        (255, 0, 0),
        (0, 128, 0),
        (0, 0, 255),
    ]
    assert (
        sheet.getpixel((GAP + 3 * step - 3, middle)) == FRAME != sheet.getpixel((GAP + 2 * step - 3, middle))
    )
