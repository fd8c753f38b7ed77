"""FashionBLIP-2 against others' schemes, equally trained, and its mask against none: three seeds each.

    $ make bench NAME=schemes             # two hours on two cores; ARGS="--steps 60 --seeds 1" for a try

Drawn garments with true texts (drawn_triplets.py: 2 triplets a target). All variants have the same triplets,
batches, steps and learning rates and differ in the settings that VARIANTS name. R@10 is of the test split's
queries among all pictures but the reference, the mean of all seeds, and its interval a bootstrap
over queries. `r10_over_...` is the gain of FashionBLIP-2 over the variant, query by query.
`mask_off`: trained as if every target were a product of its own, so that shared targets are each other's
negatives.
"""

import argparse
import json
import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks import drawn_triplets
from benchmarks.plain_loop import Held, Loop
from facap.evaluate.metrics import find
from facap.store import Store
from facap.train.config import TrainConfig
from facap.train.feed import split_rows

FAMILIES = 500
MODEL = "fashionblip2"
VARIANTS: dict[str, dict[str, Any]] = {
    MODEL: {},
    "one_vector": {"num_match_tokens": 1, "match_dim": 768},
    "mean": {"matching": "mean"},
    "best_token": {"matching": "best_token"},
    "combiner": {"matching": "combiner"},
    "sum": {"matching": "sum"},
    "text_only": {"matching": "text_only"},
    "lora": {"adapter": "lora", "adapter_width": 16},
    "no_adapters": {"adapter_blocks": 0},
    "mask_off": {},
}
RESAMPLES = 2000


def found_within_10(loop: Loop, rows: pa.Table) -> np.ndarray:
    """For each query whether its target is among the first 10 of all pictures."""
    model, held = loop.model.eval(), loop.pictures
    query, candidate = [], []
    places = list(range(len(held.position)))
    said = rows.to_pydict()
    references = [held.position[image] for image in said["reference_id"]]
    targets = [held.position[image] for image in said["target_id"]]
    with torch.inference_mode():
        for start in range(0, len(places), 64):
            states = model.from_trunk(held.inputs(places[start : start + 64]))
            candidate.append(model.matching.candidate(model.candidate_states(states)))
        for start in range(0, len(references), 64):
            ids, mask = loop.tokens(said["modification"][start : start + 64])
            states = model.from_trunk(held.inputs(references[start : start + 64]))
            query.append(model.matching.query(model, states, ids, mask))
    found = find(
        torch.cat(query).numpy(), torch.cat(candidate).numpy(), np.array(references), np.array(targets)
    )
    return found.ranks <= 10


def trained(store: Store, name: str, seed: int, steps: int, held: Held | None) -> tuple[np.ndarray, Held]:
    """(what the queries of the variant find, the states of the pictures)."""
    config = TrainConfig(seed=seed)
    config = config.model_copy(update={"model": config.model.model_copy(update=VARIANTS[name])})
    loop = Loop(store, config, held)
    if name == "mask_off":
        for side, offset in (("target_product", 0), ("reference_product", len(loop.rows))):
            own = pa.array(range(offset, offset + len(loop.rows)), pa.int64())
            loop.rows = loop.rows.set_column(loop.rows.schema.get_field_index(side), side, own)
    loop.run(steps)
    return found_within_10(loop, split_rows(store, "test")), loop.pictures


def interval(values_SQ: np.ndarray, rng: np.random.Generator) -> list[float]:
    """The 95 % interval of the mean over seeds and queries, by resampling the queries."""
    mean_Q = values_SQ.mean(axis=0)
    drawn = rng.integers(0, len(mean_Q), (RESAMPLES, len(mean_Q)))
    return [round(float(v), 4) for v in np.percentile(mean_Q[drawn].mean(axis=1), [2.5, 97.5])]


def main() -> None:
    """Prints each result as it comes; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=130, help="of 64 triplets")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant")
    parser.add_argument("--families", type=int, default=FAMILIES, help="of six garments each")
    parser.add_argument("--only", default="", help="some variants, with commas between")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(VARIANTS)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder:
        store = drawn_triplets.make(folder, given.families, seed=0)
        trunks: dict[Any, Held] = {}  # states below the first adapter, by where that is
        for seed in range(given.seeds):
            for name in names:
                depth = VARIANTS[name].get("adapter_blocks", 1)
                hits, trunks[depth] = trained(store, name, seed, given.steps, trunks.get(depth))
                found[name].append(hits)
                print(f"seed {seed} {name}: R@10 {hits.mean():.3f}", flush=True)
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {
        "queries": len(found[names[0]][0]),
        "gallery": given.families * drawn_triplets.SIZE,
    }
    figures |= {"steps": given.steps, "seeds": given.seeds}
    for name, several in found.items():
        hits_SQ: np.ndarray = np.array(several, dtype=float)
        figures[f"r10_{name}"] = round(float(hits_SQ.mean()), 4)
        figures[f"r10_{name}_interval"] = interval(hits_SQ, rng)
        figures[f"r10_{name}_seeds"] = [round(float(one.mean()), 4) for one in several]
        if name != MODEL and MODEL in found:
            gain_SQ = np.array(found[MODEL], dtype=float) - hits_SQ
            figures[f"r10_over_{name}"] = round(float(gain_SQ.mean()), 4)
            figures[f"r10_over_{name}_interval"] = interval(gain_SQ, rng)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
