"""What the mask of shared targets is worth where targets are shared as in FACap.

    $ make bench NAME=shared_targets      # about ten minutes; ARGS="--seeds 1" for a try

Drawn garments in two pictures each, so that beside a target there is a picture that is just as right. Of each
family 9 triplets of 12 are kept, which makes 1.9 a target picture (53,686 on 28,252 in FACap's dresses). In
batches of 256 of about 310 triplets a row meets two or three candidates that are no negatives of its. With
the mask they are left out of its softmax, without they are not; all else is equal, seed by seed. R@10 is of
queries on unseen garments among all pictures; for `any_view` the target's other picture is right as well. The
gain's interval is a bootstrap over the queries of its mean over the seeds.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from facap.schemas import IMAGES, TRIPLETS, from_rows
from facap.store import Store
from facap.study import drawn, training
from facap.study.figures import interval
from facap.study.loop import Held, Loop
from facap.study.variants import MODEL
from facap.train.feed import split_rows

FAMILIES = 420  # 5,040 pictures
KEPT = 9  # triplets of a family, of 12
PRODUCTS = 100  # targets of the training triplets
BATCH, STEPS = 256, 24
AT = 10


def draw(folder: str) -> Store:
    """IMAGES with two pictures a garment, and TRIPLETS between pictures."""
    store = Store(folder)
    images: list[dict[str, Any]] = []
    triplets: list[dict[str, Any]] = []
    for rows, garments, targets, split in drawn.each_family(FAMILIES, 0):
        rng = random.Random(rows[0]["item_id"])
        views = []
        for row, garment in zip(rows, garments, strict=True):
            other = drawn.image_row(f"{row['item_id']}-b", garment, rng) | {"product_id": row["product_id"]}
            views.append((row, other))
        images += [view for both in views for view in both]
        made = [
            drawn.triplet_row(
                view,
                rng.choice(views[target]),
                split,
                drawn.fine(rng, garments[place], garments[target]),
            )
            for place, target in enumerate(targets)
            for view in views[place]
        ]
        triplets += rng.sample(made, KEPT)
    for name, schema, some in (("images", IMAGES, images), ("triplets", TRIPLETS, triplets)):
        stage = store.stage(name, schema, "drawn")
        stage.write(from_rows(some, schema))
        stage.commit(config={}, inputs={})
    return store


def learnt_from(store: Store) -> pa.Table:
    """The training triplets of PRODUCTS targets."""
    rows = split_rows(store, "train")
    products = np.unique(rows["target_product"].to_numpy(zero_copy_only=False))
    some = np.random.default_rng(0).permutation(products)[:PRODUCTS]
    return rows.filter(pc.is_in(rows["target_product"], value_set=pa.array(some)))


def hits(root: str, states: str, seed: int, mask: bool) -> dict[str, list[int]]:
    """Trains with or without the mask; whether each test query finds its target, and any view of it."""
    store = Store(root)
    rows = store.read("images", ["image_id", "product_id"]).sort_by("image_id").to_pylist()
    held = Held(np.load(states, mmap_mode="r"), {row["image_id"]: n for n, row in enumerate(rows)})
    config = training.settings_of(MODEL, seed).model_copy(update={"batch_size": BATCH})
    loop = Loop(store, config, held, threads=1)
    learnt = learnt_from(store)
    loop.rows = learnt if mask else training.unshared(learnt)
    loop.run(STEPS)
    gallery, test = training.embedded_gallery(loop), split_rows(store, "test")
    found = {"r10": training.found_within_10(loop, gallery, test)}
    views: dict[str, list[str]] = {}
    for row in rows:
        views.setdefault(row["product_id"], []).append(row["image_id"])
    product = {row["image_id"]: row["product_id"] for row in rows}
    place = test.schema.get_field_index("target_id")
    twins = [
        next(view for view in views[product[target]] if view != target)
        for target in test["target_id"].to_pylist()
    ]
    other = training.found_within_10(loop, gallery, test.set_column(place, "target_id", pa.array(twins)))
    found["r10_any_view"] = [int(a or b) for a, b in zip(found["r10"], other, strict=True)]
    return found


def main() -> None:
    """Prints as it goes; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4, help="trainings with the mask, and as many without")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder:
        store = draw(folder)
        torch.set_num_threads(2)
        states = f"{folder}/states.npy"
        np.save(states, training.held_for(store, MODEL).states)
        learnt = learnt_from(store)
        targets = len(set(learnt["target_id"].to_pylist()))
        print(
            f"{len(learnt)} triplets on {targets} target pictures, {len(learnt) / targets:.2f} a target",
            flush=True,
        )
        found: dict[bool, list[dict[str, list[int]]]] = {True: [], False: []}
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            for seed in range(given.seeds):
                both = list(pool.map(hits, [folder] * 2, [states] * 2, [seed] * 2, (True, False)))
                for mask, one in zip((True, False), both, strict=True):
                    found[mask].append(one)
                    shown = ", ".join(f"{name} {np.mean(values):.1%}" for name, values in one.items())
                    print(f"seed {seed}, mask {'on' if mask else 'off'}: {shown}", flush=True)
    figures: dict[str, Any] = {
        "triplets": len(learnt),
        "triplets_a_target": round(len(learnt) / targets, 2),
        "batch": BATCH,
        "steps": STEPS,
        "seeds": given.seeds,
        "queries": len(found[True][0]["r10"]),
    }
    for name in ("r10", "r10_any_view"):
        mean = {mask: np.mean([one[name] for one in runs], axis=0) for mask, runs in found.items()}
        figures[f"{name}_masked"] = [round(float(np.mean(one[name])), 4) for one in found[True]]
        figures[f"{name}_unmasked"] = [round(float(np.mean(one[name])), 4) for one in found[False]]
        figures[f"{name}_gain"] = round(float((mean[True] - mean[False]).mean()), 4)
        figures[f"{name}_gain_interval"] = interval(mean[True] - mean[False])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
