"""One training of one variant, and which test queries find their target among the first ten.

Queries are of the test split, whose products no training triplet shows; the gallery is every picture but the
reference. The oracle knows the true attributes of reference and candidates and reads the text without error:
it ranks by how many attributes are as asked.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch

from facap.catalog import wording
from facap.catalog.garments import Garment
from facap.evaluate.metrics import find
from facap.store import Store
from facap.study.config import StudyConfig
from facap.study.loop import Held, Loop
from facap.study.variants import VARIANTS
from facap.train.config import TrainConfig
from facap.train.feed import split_rows
from facap.train.setup import starting_model

AT = 10


def settings_of(name: str, seed: int = 0) -> TrainConfig:
    """The trainer's settings of a variant."""
    settings = TrainConfig(seed=seed)
    return settings.model_copy(update={"model": settings.model.model_copy(update=VARIANTS[name].model)})


def held_for(store: Store, name: str) -> Held:
    """The pictures as the variant's frozen trunk sees them; equal for variants of equal `adapter_blocks`."""
    return Held.of(store, starting_model(settings_of(name)))


def hits_of(
    stores: Mapping[str, Store],
    name: str,
    seed: int,
    config: StudyConfig,
    held: Held,
    annotated: pa.Table | None = None,
) -> dict[str, list[int]]:
    """Trains the variant; texts -> 0 or 1 of each test query. `held`: what held_for gives for it.

    `annotated`: the triplets to learn from, where models wrote the texts.
    """
    variant = VARIANTS[name]
    loop = Loop(stores["fine"], settings_of(name, seed), held, config.threads)
    phases = [variant.before, variant.texts] if variant.before else [variant.texts]
    for texts in phases:
        rows = split_rows(stores[texts], "train") if annotated is None else annotated
        share = variant.share if texts == variant.texts else 1.0
        kept = np.random.default_rng(seed).permutation(len(rows))[: round(share * len(rows))]
        loop.rows = rows.take(np.sort(kept))
        if not variant.masked:
            loop.rows = unshared(loop.rows)
        loop.run(variant.longer * config.steps // len(phases))
    gallery = embedded_gallery(loop)
    return {
        texts: found_within_10(loop, gallery, split_rows(store, "test")) for texts, store in stores.items()
    }


def unshared(rows: pa.Table) -> pa.Table:
    """The rows as if every target and reference were a product of its own."""
    for number, side in enumerate(("target_product", "reference_product")):
        own = pa.array(range(number * len(rows), (number + 1) * len(rows)), pa.int64())
        rows = rows.set_column(rows.schema.get_field_index(side), side, own)
    return rows


@torch.inference_mode()
def embedded_gallery(loop: Loop) -> np.ndarray:
    """All pictures as the trained model sees candidates, G x D."""
    model, held = loop.model.eval(), loop.pictures
    places = list(range(len(held.position)))
    candidate = []
    for start in range(0, len(places), 64):
        states = model.from_trunk(held.inputs(places[start : start + 64]))
        candidate.append(model.candidate_vectors(states))
    return torch.cat(candidate).numpy()


@torch.inference_mode()
def found_within_10(loop: Loop, gallery: np.ndarray, rows: pa.Table) -> list[int]:
    """For each row whether its target is among the first 10 of all pictures."""
    model, held = loop.model.eval(), loop.pictures
    said = rows.to_pydict()
    references = [held.position[image] for image in said["reference_id"]]
    targets = [held.position[image] for image in said["target_id"]]
    query = []
    for start in range(0, len(references), 64):
        ids, mask = loop.tokens(said["modification"][start : start + 64])
        states = model.from_trunk(held.inputs(references[start : start + 64]))
        query.append(model.query_vectors(states, ids, mask))
    found = find(torch.cat(query).numpy(), gallery, np.array(references), np.array(targets))
    return [int(rank <= AT) for rank in found.ranks]


def oracle_hits(store: Store, garments: dict[str, Garment]) -> list[int]:
    """The same for who knows all attributes; a candidate that agrees as much counts against the target."""
    of_image = {image: garment.attributes() for image, garment in garments.items()}
    hits = []
    for row in split_rows(store, "test").to_pylist():
        wanted = of_image[row["reference_id"]] | wording.modification_claims(row["modification"])
        agreeing = {
            image: sum(attributes[name] == value for name, value in wanted.items())
            for image, attributes in of_image.items()
            if image != row["reference_id"]
        }
        target = agreeing[row["target_id"]]
        before = sum(a >= target for image, a in agreeing.items() if image != row["target_id"])
        hits.append(int(before < AT))
    return hits
