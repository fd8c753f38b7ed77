"""Rendered pairs with their texts, and the workspace that verification begins with."""

import io
import random
from datetime import UTC, datetime

import PIL.Image
import pyarrow as pa

from facap.catalog import wording
from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import Garment, sample_garment, sample_variant
from facap.schemas import CAPTIONS, IMAGES, TRIPLETS, from_rows
from facap.store import Store
from facap.study.corrupted_texts import Pair

NUM_PAIRS = 60
ORIGIN = {"model": "m", "prompt_hash": "p", "params_hash": "p"}


def jpeg(garment: Garment, rng: random.Random) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(render(garment, sample_view(rng), width=96)).save(out, "JPEG")
    return out.getvalue()


def drawn_pairs() -> list[Pair]:
    rng = random.Random(0)
    pairs = []
    for number in range(NUM_PAIRS):
        reference = sample_garment(rng, ("dress", "top")[number % 2])
        target = sample_variant(rng, reference)
        style = wording.STYLES[number % len(wording.STYLES)]
        pairs.append(Pair(reference, target, wording.modification(reference, target, style)))
    return pairs


def put(store: Store, name: str, schema: pa.Schema, rows: list[dict]) -> None:
    stage = store.stage(name, schema, "given")
    for start in range(0, len(rows), 40):  # several parts
        stage.write(from_rows(rows[start : start + 40], schema))
    stage.commit(config={}, inputs={})


def fill(store: Store, pairs: list[Pair], texts: list[str], caption_origin: dict[str, str] | None) -> None:
    """IMAGES, TRIPLETS and, of that origin, true CAPTIONS; pair n is of pictures rn and tn."""
    rng = random.Random(1)
    images, captions, triplets = [], [], []
    for number, (pair, text) in enumerate(zip(pairs, texts, strict=True)):
        for image_id, garment in ((f"r{number}", pair.reference), (f"t{number}", pair.target)):
            common = {"image_id": image_id, "item_id": "item-" + image_id, "product_id": "p-" + image_id}
            common |= {"category": garment.category, "status": "ok"}
            fetched = {"url": "http://shop", "bytes": jpeg(garment, rng), "fetched_at": datetime.now(UTC)}
            images.append(common | fetched)
            captions.append(common | {"caption": wording.caption(garment)})
        triplets.append(
            {"reference_id": f"r{number}", "target_id": f"t{number}", "category": pair.target.category,
             "modification": text, "split": ("train", "train", "test")[number % 3], "status": "ok", **ORIGIN}
        )  # fmt: skip
    failed = {"reference_id": "r0", "target_id": "t1", "modification": None, "status": "identical"}
    secret = {"reference_id": "r0", "target_id": ""}
    triplets += [triplets[0] | failed, triplets[0] | secret]
    put(store, "images", IMAGES, images)
    put(store, "triplets", TRIPLETS, triplets)
    if caption_origin is not None:
        captions[-1] |= {"caption": None, "status": "empty"}  # of t59
        put(store, "captions", CAPTIONS, [row | caption_origin for row in captions])
