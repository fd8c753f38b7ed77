"""Verification against texts that were made wrong on purpose, on a workspace that quickstart made.

    $ make bench NAME=verify ARGS="--workspace workspace"

A fifth of the training and validation texts are corrupted (facap.study.corrupted_texts) and all are
verified; how well faithfulness tells the corrupted from the others is an AUROC. Then FashionBLIP-2 is
trained twice for as many steps: on all triplets, and on those that the filter keeps, with more epochs as
they are fewer. Both are evaluated on the test split, whose texts are as they were. The workspace itself is
only read.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.quickstart import garments
from facap.catalog.garments import Garment
from facap.review.agreement import auroc
from facap.schemas import OK, TRIPLETS, from_rows
from facap.store import Store
from facap.study.corrupted_texts import KINDS, Pair, corrupt

ROOT = Path(__file__).resolve().parents[1]
READ = ("images", "captions", "base_embeddings")  # datasets that are used as they are
CORRUPTED_SPLITS = ("train", "val")
Key = tuple[str, str]


def main() -> None:
    """Works in a folder of its own and prints the figures as the last line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", default="workspace", help="a finished quickstart workspace")
    parser.add_argument("--share", type=float, default=0.2, help="of the texts that are corrupted")
    parser.add_argument("--seed", type=int, default=0, help="of the corruption and of both trainings")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the corrupted triplets")
    parser.add_argument("--min_faithfulness", type=float, default=1.0, help="what the filter keeps")
    args = parser.parse_args()
    source = Store(args.workspace)
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder:
        store = prepare(source, Path(folder))
        kinds = write_corrupted(source, store, garments(source), args.share, args.seed)
        job(store, "verify_triplets", "--verify.ranks", "false")
        found = detection(store, kinds, args.min_faithfulness)
        print(json.dumps(found), flush=True)
        print(json.dumps(found | trained(store, found, args.epochs, args.min_faithfulness, args.seed)))


def trained(store: Store, found: Mapping[str, Any], epochs: int, least: float, seed: int) -> dict[str, Any]:
    """R@10 after training on all triplets of `store` and on those that a filter at `least` keeps.

    `found` is what `detection` says of it. Both take as many steps, the latter with over `epochs` passes.
    """
    figures: dict[str, Any] = {}
    more = round(epochs * found["train_triplets"] / found["train_triplets_kept"])
    for name, number in {"corrupted": epochs, "filtered": more}.items():
        chosen = ["--train.min_faithfulness", str(least)] if name == "filtered" else []
        flags = ["--train.seed", str(seed), "--train.epochs", str(number), *chosen]
        job(store, "train_fashionblip2", *flags)
        job(store, "evaluate_model")
        figures |= recall(store, name) | {f"epochs_{name}": number}
        figures[f"steps_{name}"] = store.require("model").extra["steps"]
    return figures


def prepare(source: Store, folder: Path) -> Store:
    """A workspace in `folder` that shows those datasets of `source` that are only read."""
    for name in READ:
        if source.manifest(name) is not None:
            (folder / name).symlink_to(source.path(name), target_is_directory=True)
    return Store(str(folder))


def write_corrupted(
    source: Store, store: Store, known: Mapping[str, Garment], share: float, seed: int
) -> dict[Key, str | None]:
    """TRIPLETS of `source`, `share` of the texts made wrong; key -> how, of all that might have been."""
    rows = source.read("triplets").to_pylist()
    mine = [row for row in rows if row["status"] == OK and row["split"] in CORRUPTED_SPLITS]
    pairs = [Pair(known[r["reference_id"]], known[r["target_id"]], r["modification"]) for r in mine]
    texts, kinds = corrupt(pairs, share, seed)
    for row, text in zip(mine, texts, strict=True):
        row["modification"] = text
    stage = store.stage("triplets", TRIPLETS, f"corrupted-{share}-{seed}")
    stage.write(from_rows(rows, TRIPLETS))
    stage.commit(config={"share": share, "seed": seed}, inputs={"triplets": source.fingerprint("triplets")})
    return {(row["reference_id"], row["target_id"]): kind for row, kind in zip(mine, kinds, strict=True)}


def detection(store: Store, kinds: Mapping[Key, str | None], least: float) -> dict[str, Any]:
    """How well VERDICTS find the corrupted texts, and what a filter at `least` would leave out."""
    table: pa.Table = store.read("verdicts", ["reference_id", "target_id", "split", "faithfulness"])
    rows = [row for row in table.to_pylist() if (row["reference_id"], row["target_id"]) in kinds]
    # no verdict speaks against a text without one, and the filter keeps it
    score_N = np.array([1.0 if row["faithfulness"] is None else row["faithfulness"] for row in rows])
    kind_N = [kinds[row["reference_id"], row["target_id"]] for row in rows]
    good_N = np.array([kind is None for kind in kind_N])
    train_N = np.array([row["split"] == "train" for row in rows])
    out_N = score_N < least
    return {
        "corruption_auroc": _rounded(auroc(score_N, good_N)),
        "corruption_auroc_by_kind": {kind: _auroc_of(kind, kind_N, score_N, good_N) for kind in KINDS},
        "texts": len(rows),
        "texts_corrupted": int((~good_N).sum()),
        "texts_without_a_score": sum(row["faithfulness"] is None for row in rows),
        "corrupted_left_out": _rounded(float(out_N[~good_N].mean())),
        "others_left_out": _rounded(float(out_N[good_N].mean())),
        "train_triplets": int(train_N.sum()),
        "train_triplets_kept": int((train_N & ~out_N).sum()),
    }


def _auroc_of(
    kind: str, kind_N: Sequence[str | None], score_N: np.ndarray, good_N: np.ndarray
) -> float | None:
    """Of the texts of one kind against the good ones."""
    mine_N = good_N | np.array([one == kind for one in kind_N])
    return _rounded(auroc(score_N[mine_N], good_N[mine_N]))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def job(store: Store, name: str, *flags: str) -> None:
    """Runs a job on the workspace."""
    command = [sys.executable, "-m", f"jobs.{name}", "--workspace", store.root, *flags]
    subprocess.run(command, cwd=ROOT, check=True)


def recall(store: Store, name: str) -> dict[str, Any]:
    """R@10 of the model that was evaluated last, with its interval."""
    (row,) = [
        row
        for row in store.read("metrics").to_pylist()
        if row["model_version"].startswith("fashionblip2@")
        and (row["category"], row["metric"]) == ("all", "recall@10")
    ]
    return {
        f"r10_{name}": round(row["value"], 4),
        f"r10_{name}_interval": [round(row["ci_low"], 4), round(row["ci_high"], 4)],
    }


if __name__ == "__main__":
    main()
