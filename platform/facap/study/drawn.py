"""IMAGES and TRIPLETS of drawn garments with true texts: the rendered benchmark, in two forms.

    fine = make(folder, families=840, seed=0, texts="fine")

"fine" texts name every change, as FACap's do; "coarse" ones name one or two of them in few words, as Fashion
IQ's. Pictures and pairs of both are the same. A family is SIZE garments that differ from its first one in a
little, all of one category and one split. Each picture is a reference once, and half of a family are targets,
so that a target is shared by two triplets: in FACap's dresses by 1.9 (53,686 triplets on 28,252 targets).
"""

import hashlib
import io
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import PIL.Image

from facap.catalog import wording
from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import Garment, changes, sample_garment, sample_variant
from facap.schemas import IMAGES, OK, TRIPLETS, from_rows
from facap.splits import split_of
from facap.store import Store, stage_key
from facap.study.variants import Texts

VERSION = 1
SIZE, TARGETS = 6, 3  # garments of a family, and those of them that are targets
WIDTH_PX = 128


def make(folder: str, families: int, seed: int, texts: Texts = "fine") -> Store:
    """A workspace with SIZE pictures and as many triplets a family; equal arguments give equal rows.

    What is there already is left as it is.
    """
    store = Store(folder)
    stages = [
        store.stage(name, schema, stage_key(f"drawn-{name}", VERSION, [families, seed, texts], {}))
        for name, schema in (("images", IMAGES), ("triplets", TRIPLETS))
    ]
    if all(stage.finished() for stage in stages):
        return store
    images: list[dict[str, Any]] = []
    triplets: list[dict[str, Any]] = []
    for rows, garments, pairs, split in each_family(families, seed):
        images += rows
        rng = random.Random(f"{seed} {rows[0]['item_id']}")
        for place, target in enumerate(pairs):
            text = (fine if texts == "fine" else coarse)(rng, garments[place], garments[target])
            triplets.append(triplet_row(rows[place], rows[target], split, text))
    for stage, made in zip(stages, (images, triplets), strict=True):
        assert stage.schema is not None
        for start in range(0, len(made), 500):
            stage.write(from_rows(made[start : start + 500], stage.schema))
        stage.commit(config={}, inputs={}, expected=len(made))
    return store


def garments_of(families: int, seed: int) -> dict[str, Garment]:
    """image_id -> what it shows."""
    return {
        row["image_id"]: garment
        for rows, garments, _, _ in each_family(families, seed)
        for row, garment in zip(rows, garments, strict=True)
    }


def fine(rng: random.Random, reference: Garment, target: Garment) -> str:
    """A text that names every change."""
    return wording.modification(reference, target, rng.choice(wording.STYLES))


def coarse(rng: random.Random, reference: Garment, target: Garment) -> str:
    """A wish that names one or two of the changes."""
    changed = changes(reference, target)
    for count in (2, 1):
        for _ in range(5):
            some = rng.sample(sorted(changed), min(count, len(changed)))
            try:
                wanted = replace(reference, **{name: changed[name] for name in some})
            except ValueError:  # one of them needs another, as a pattern needs a second colour
                continue
            return wording.modification(reference, wanted, "want")
    return wording.modification(reference, target, "want")


def each_family(
    families: int, seed: int
) -> Iterator[tuple[list[dict[str, Any]], list[Garment], list[int], str]]:
    """Rows of IMAGES, what they show, the target of each, and the split."""
    rng = random.Random(seed)
    seen: set[Garment] = set()
    for number in range(families):
        garments = _family(rng, seen)
        rows = [image_row(f"{number:05}-{place}", garment, rng) for place, garment in enumerate(garments)]
        pairs = [rng.choice([t for t in range(TARGETS) if t != place]) for place in range(SIZE)]
        yield rows, garments, pairs, split_of(f"family-{number}")


def _family(rng: random.Random, seen: set[Garment]) -> list[Garment]:
    """SIZE garments that nobody has seen, the later ones variants of the first."""
    while True:
        first = sample_garment(rng)
        variants = (sample_variant(rng, first) for _ in range(20 * SIZE))
        family = list(islice(dict.fromkeys([first, *variants]), SIZE))
        if len(family) == SIZE and not seen & set(family):
            seen |= set(family)
            return family


def image_row(item: str, garment: Garment, rng: random.Random) -> dict[str, Any]:
    """The row of IMAGES of a picture of `garment`, seen in some way of `rng`'s."""
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


def triplet_row(reference: dict[str, Any], target: dict[str, Any], split: str, text: str) -> dict[str, Any]:
    """The row of TRIPLETS between two rows of IMAGES."""
    return {
        "reference_id": reference["image_id"],
        "target_id": target["image_id"],
        "category": reference["category"],
        "modification": text,
        "split": split,
        "model": "the renderer",
        "prompt_hash": "",
        "params_hash": "",
        "status": OK,
    }
