"""VERDICTS -> the training triplets that are left out, by min_faithfulness, max_unspoken and max_rank.

    >>> left_out(store, TrainConfig(min_faithfulness=0.9))                   # doctest: +SKIP
    {('img1', 'img2', 'dress', None), ...}

A triplet is left out if its verdict says that it is bad. One without a verdict, or whose verdict has no
faithfulness (nothing was claimed, or nothing answered) or no rank, is kept by that filter. Validation and
test triplets are never left out: figures of filtered and unfiltered trainings are of the same queries.
"""

from typing import Any

from facap.errors import DatasetMissing, StageFailed
from facap.store import Manifest, Store
from facap.train.config import TrainConfig

KEY = ("reference_id", "target_id", "category", "place")
FILTERS = {"min_faithfulness", "max_unspoken", "max_rank"}  # settings
Key = tuple[Any, ...]


def is_filtered(config: TrainConfig) -> bool:
    """Whether a filter is set; else VERDICTS are not looked at."""
    return bool(config.min_faithfulness or config.max_unspoken is not None or config.max_rank)


def verdicts(store: Store) -> Manifest:
    """The manifest of VERDICTS of these TRIPLETS. DatasetMissing or StageFailed if they are not there."""
    manifest = store.manifest("verdicts")
    setting = "train.min_faithfulness, max_unspoken and max_rank choose by VERDICTS"
    if manifest is None:
        raise DatasetMissing(
            f"{setting}, which are not in {store.root} yet; run python -m jobs.verify_triplets first"
        )
    if manifest.inputs["triplets"] != store.fingerprint("triplets"):
        raise StageFailed(
            f"{setting}, and those in {store.root} are of other TRIPLETS; run python -m jobs.verify_triplets "
            "again"
        )
    return manifest


def left_out(store: Store, config: TrainConfig) -> set[Key]:
    """The keys of the training triplets that the filters leave out."""
    if not is_filtered(config):
        return set()
    verdicts(store)
    rows = store.read("verdicts", [*KEY, "split", "faithfulness", "unspoken", "rank"]).to_pylist()
    if config.max_rank and all(row["rank"] is None for row in rows):
        raise StageFailed(
            "train.max_rank chooses by ranks, and VERDICTS have none; run jobs.evaluate_model, then "
            "jobs.verify_triplets"
        )
    return {
        tuple(row[name] for name in KEY) for row in rows if row["split"] == "train" and _is_bad(row, config)
    }


def _is_bad(row: dict[str, Any], config: TrainConfig) -> bool:
    unfaithful = row["faithfulness"] is not None and row["faithfulness"] < config.min_faithfulness
    silent = config.max_unspoken is not None and len(row["unspoken"] or ()) > config.max_unspoken
    lost = row["rank"] is not None and 0 < config.max_rank < row["rank"]
    return unfaithful or silent or lost
