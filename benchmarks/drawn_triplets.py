"""IMAGES and TRIPLETS of drawn garments with true texts, for trainings that are compared with each other.

    store = make(folder, families=300, seed=0)

A family is SIZE garments that differ from its first one in a little, all of one category and one split. Each
picture is a reference once, and half of a family are targets, so that a target is shared by two triplets: in
FACap's dresses by 1.9 (53,686 triplets on 28,252 targets).
"""

import hashlib
import io
import random
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import PIL.Image

from facap.catalog import wording
from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import Garment, sample_garment, sample_variant
from facap.schemas import IMAGES, OK, TRIPLETS, from_rows
from facap.splits import split_of
from facap.store import Store

SIZE, TARGETS = 6, 3  # garments of a family, and those of them that are targets
WIDTH_PX = 128


def make(folder: str, families: int, seed: int) -> Store:
    """A workspace with SIZE pictures and as many triplets a family; equal seeds give equal rows."""
    rng = random.Random(seed)
    store = Store(folder)
    images: list[dict[str, Any]] = []
    triplets: list[dict[str, Any]] = []
    seen: set[Garment] = set()
    for number in range(families):
        garments = _family(rng, seen)
        rows = [_image(f"{number:05}-{place}", garment, rng) for place, garment in enumerate(garments)]
        images += rows
        split = split_of(f"family-{number}")
        for place, reference in enumerate(garments):
            target = rng.choice([other for other in range(TARGETS) if other != place])
            triplets.append(_triplet(rows, place, target, split, reference, garments[target], rng))
    for name, schema, made in (("images", IMAGES, images), ("triplets", TRIPLETS, triplets)):
        stage = store.stage(name, schema, f"drawn-{families}-{seed}")
        for start in range(0, len(made), 500):
            stage.write(from_rows(made[start : start + 500], schema))
        stage.commit(config={}, inputs={})
    return store


def _family(rng: random.Random, seen: set[Garment]) -> list[Garment]:
    """SIZE garments that nobody has seen, the later ones variants of the first."""
    while True:
        first = sample_garment(rng)
        variants = (sample_variant(rng, first) for _ in range(20 * SIZE))
        family = list(islice(dict.fromkeys([first, *variants]), SIZE))
        if len(family) == SIZE and not seen & set(family):
            seen |= set(family)
            return family


def _image(item: str, garment: Garment, rng: random.Random) -> dict[str, Any]:
    data = io.BytesIO()
    PIL.Image.fromarray(render(garment, sample_view(rng), width=WIDTH_PX)).save(data, "JPEG", quality=92)
    return {
        "item_id": item,
        "image_id": hashlib.sha256(data.getvalue()).hexdigest()[:32],
        "product_id": item,
        "category": garment.category,
        "url": f"drawn:{item}",
        "status": OK,
        "bytes": data.getvalue(),
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def _triplet(
    rows: list[dict[str, Any]],
    place: int,
    target: int,
    split: str,
    garment: Garment,
    wanted: Garment,
    rng: random.Random,
) -> dict[str, Any]:
    return {
        "reference_id": rows[place]["image_id"],
        "target_id": rows[target]["image_id"],
        "category": garment.category,
        "modification": wording.modification(garment, wanted, rng.choice(wording.STYLES)),
        "split": split,
        "model": "the renderer",
        "prompt_hash": "",
        "params_hash": "",
        "status": OK,
    }
