"""A small catalogue of rendered garments with an untrained model, indexed: what the serving tests serve."""

import io
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import PIL.Image
import torch

from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import sample_garment
from facap.crawl.decode import Limits, normalise
from facap.index.config import IndexConfig
from facap.index.pipeline import run
from facap.model.config import FashionBlip2Config
from facap.model.fashionblip2 import FashionBlip2
from facap.model.saved import save_pretrained
from facap.model.text import Tokens
from facap.progress import Progress, StageReport
from facap.schemas import CATEGORIES, IMAGES, from_rows
from facap.store import Store

BASE = "facap/tiny-retrieval"
VERSION = "7"


@dataclass(frozen=True)
class Made:
    """Where the parts of the small service lie."""

    store: Store
    model_folder: str
    image_ids: list[str]  # two in a row show one product

    def index(self, config: IndexConfig | None = None, version: str = VERSION) -> StageReport:
        """Runs the index stage."""
        return run(self.store, config or IndexConfig(), Progress("index"), self.model_folder, version)


def jpeg(seed: int, category: str, view: int = 0) -> bytes:
    """A rendered garment."""
    garment = sample_garment(random.Random(seed), category=category)
    picture = PIL.Image.fromarray(render(garment, sample_view(random.Random(1000 * seed + view))))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def make(folder: Path, num_products: int = 20) -> Made:
    """IMAGES of `num_products` with two pictures each, some failures and a duplicate; a model."""
    store = Store(str(folder / "workspace"))
    rows, image_ids = [], []
    for product in range(num_products):
        category = CATEGORIES[product % len(CATEGORIES)]
        for view in range(2):
            picture = normalise(jpeg(product, category, view), Limits())
            image_ids.append(picture.image_id)
            rows.append(_row(f"{product}-{view}", product, category, picture.image_id, picture.bytes))
    failed = {**_row("failed", 900, "dress", None, None), "status": "http_404"}
    twin = {**rows[0], "item_id": "twin", "duplicate_of": rows[0]["item_id"]}
    stage = store.stage("images", IMAGES, "0123456789ab")
    for start in range(0, len(rows), 15):
        stage.write(from_rows(rows[start : start + 15], IMAGES))
    stage.write(from_rows([failed, twin], IMAGES))
    stage.commit(config={}, inputs={})
    return Made(store, make_model(folder / "model"), image_ids)


def make_model(folder: Path, seed: int = 0) -> str:
    """An untrained FashionBLIP-2 on the shipped base."""
    torch.manual_seed(seed)
    config = FashionBlip2Config(base=BASE)
    save_pretrained(FashionBlip2.from_base(config), Tokens.load(BASE, config.max_text_tokens), folder)
    return str(folder)


def _row(item_id: str, product: int, category: str, image_id: str | None, data: bytes | None) -> dict:
    return {
        "item_id": item_id,
        "image_id": image_id,
        "product_id": f"p{product:04d}",
        "category": category,
        "url": f"http://shop.test/{item_id}.jpg",
        "status": "ok",
        "bytes": data,
        "fetched_at": datetime.now(UTC),
    }
