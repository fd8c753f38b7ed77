"""Annotation of 4,000 rendered images: truth of captions and texts, and the stage's speed against vLLM alone.

    $ make bench NAME=annotate            # about half an hour; ARGS="--products 300" for a try

`throughput_ratio`: captions a second of the whole Ray Data stage, from its first written part to its last,
over the mean of those of `LLM.generate` on the same pictures just before and just after it, as the machine is
not equally fast all the time (raw_captions.py). vLLM alone has its engine in the calling process or in one of
its own, and the quicker way counts. `engine_busy`: how much of its one core the engine's process used in that
time, 1 being never idle; `..._each_4_s`: the timeline of that and of the captions written. Truth is what the
demo's renderer knows, see quickstart.py. `..._verified`: of the texts that verification by all views of the
products confirms.
`..._one_stage`: no captions, the writer gets tags alone, which it was taught as much as captions; precision
and recall are of the tags. `r10_one_stage`, `r10_two_stage`: training on as many triplets of either, tested
on the same queries, whose texts are the renderer's own.
`corruption_auroc`: verification against texts that were made wrong. `r10_...`: training on those, with and
without the filter, see verify.py.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks import verify
from benchmarks.quickstart import caption_truth, garments, text_truth
from facap.annotate import taxonomy
from facap.catalog import wording
from facap.progress import Progress, StageReport
from facap.schemas import OK, TRIPLETS, from_rows
from facap.store import Store
from facap.study.drawn import fine
from jobs.job_runner import run_jobs
from jobs.job_settings import Settings
from jobs.quickstart import STAGES

ANNOTATED_BY = ("catalog", "crawl", "caption", "pairs", "modify")  # stages of the quickstart
ENGINE = "VLLM::EngineCore"  # vLLM's title of the process that holds the model


class EngineWatch:
    """CPU seconds of vLLM's engine processes over time, looked at twice a second."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, float]] = []  # when (as file times), process, its CPU seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "EngineWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def busy(self, start: float, end: float) -> float | None:
        """The share of one core that the engine used between two moments; null if it was not seen."""
        within = [(when, cpu) for when, _, cpu in self.seen if start <= when <= end]
        if len(within) < 2:
            return None
        (first, before), (last, after) = within[0], within[-1]
        return round((after - before) / (last - first), 3)

    def timeline(self, start: float, end: float, seconds: float) -> list[float | None]:
        """`busy` of every `seconds` between two moments."""
        count = max(1, int((end - start) / seconds))
        return [self.busy(start + i * seconds, start + (i + 1) * seconds) for i in range(count)]

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                try:
                    if any(ENGINE in word for word in process.cmdline()[:1]):
                        times = process.cpu_times()
                        self.seen.append((time.time(), process.pid, times.user + times.system))
                except psutil.Error:
                    continue  # it has just ended


def written(store: Store, name: str) -> list[tuple[float, int]]:
    """(time, rows) of each part of a dataset, in the order in which they were written."""
    root = Path(store.path(name))
    parts = [root / file for file in store.require(name).files]
    return sorted((part.stat().st_mtime, pq.read_metadata(part).num_rows) for part in parts)


class BetweenRaw:
    """The caption stage as a job, with vLLM alone before and after it: `rates`, captions a second, by way."""

    def __init__(self, answers: Path) -> None:
        self.answers = answers
        self.rates: dict[str, list[float]] = {"in_process": [], "own_process": []}

    def __call__(self, store: Store, settings: Settings, progress: Progress) -> StageReport:
        self._raw(store)
        report = STAGES["caption"](store, settings, progress)
        self._raw(store)
        return report

    def _raw(self, store: Store) -> None:
        script = Path(__file__).with_name("raw_captions.py")
        for way, rates in self.rates.items():
            words = [sys.executable, str(script), store.root, str(self.answers), way]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            raw = json.loads(done.stdout.strip().splitlines()[-1])
            rates.append(raw["rows"] / raw["seconds"])

    def equal(self, store: Store) -> float:
        """The share of the stage's answers that are those of vLLM alone, word for word."""
        alone = json.loads(self.answers.read_text())
        rows = store.read("captions", ["image_id", "raw"]).to_pylist()
        return sum(alone.get(row["image_id"]) == row["raw"] for row in rows) / len(rows)


def speed(store: Store, watch: EngineWatch, raw: BetweenRaw) -> dict[str, Any]:
    """The caption stage's rate from its first part to its last, and that of vLLM alone."""
    parts = written(store, "captions")
    start, end = parts[0][0], parts[-1][0]
    stage_per_s = sum(rows for _, rows in parts[1:]) / (end - start)
    raw_per_s = max(sum(rates) / len(rates) for rates in raw.rates.values())
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(parts)]
    return {
        "captions_per_s": round(stage_per_s, 1),
        "raw_captions_per_s": {way: [round(r, 1) for r in rates] for way, rates in raw.rates.items()},
        "throughput_ratio": round(stage_per_s / raw_per_s, 3),
        "answers_equal_to_raw": round(raw.equal(store), 4),
        "engine_busy": watch.busy(start, end),
        "engine_busy_each_4_s": watch.timeline(start, end, 4),
        "captions_written_each_4_s": [
            sum(rows for when, rows in parts[1:] if start + at < when <= start + at + 4)
            for at in range(0, int(end - start) - 3, 4)
        ],
        "longest_gap_s": round(max(gaps), 2),
    }


def verified(store: Store) -> dict[str, Any]:
    """Truth of the texts that every view of both products confirms: all claims, and no change unspoken."""
    verify.job(store, "verify_triplets", "--verify.ranks", "false", "--verify.views", "all")
    columns = ["reference_id", "target_id", "faithfulness", "unspoken"]
    confirmed = {
        (row["reference_id"], row["target_id"])
        for row in store.read("verdicts", columns).to_pylist()
        if row["faithfulness"] == 1 and not row["unspoken"]
    }
    return {f"{name}_verified": value for name, value in modification_truth(store, confirmed).items()}


def modification_truth(store: Store, only: set[tuple[str, str]] | None = None) -> dict[str, float]:
    """Truth of the texts, under the names that this benchmark's figures have."""
    return {name.replace("text_", "modification_"): value for name, value in text_truth(store, only).items()}


def one_stage(store: Store, folder: Path) -> dict[str, Any]:
    """The same from tags alone: attributes of each picture by the model, and texts written from those."""
    folder.mkdir()
    for name in ("demo", "images", "base_embeddings"):
        (folder / name).symlink_to(store.path(name), target_is_directory=True)
    tagged = Store(str(folder))
    asked = ("--caption.output", "attributes", "--caption.template", "attributes_plain")
    verify.job(tagged, "caption_images", *asked, "--caption.max_tokens", "112")
    verify.job(tagged, "mine_pairs")
    verify.job(tagged, "write_modifications", "--modify.template", "modify_tags")
    figures = {
        "pairs": tagged.require("triplets").rows,
        **tag_truth(tagged),
        **modification_truth(tagged),
    }
    return {f"{name}_one_stage": value for name, value in figures.items()}


def stages_compared(store: Store, tagged: Store, folder: Path) -> dict[str, Any]:
    """R@10 after equal trainings on the texts of `store`, from captions, and of `tagged`, from tags."""
    folder.mkdir()
    known, rng = garments(store), random.Random(0)
    made = {"two_stage": usable(store), "one_stage": usable(tagged)}
    test = [row for row in made["two_stage"] if row["split"] == "test"]
    for row in test:
        row["modification"] = fine(rng, known[row["reference_id"]], known[row["target_id"]])
    learnt = {name: [row for row in rows if row["split"] != "test"] for name, rows in made.items()}
    count = min(len(rows) for rows in learnt.values())
    figures: dict[str, Any] = {"triplets_each": count}
    for name, rows in learnt.items():
        (folder / name).mkdir()
        own = verify.prepare(store, folder / name)
        stage = own.stage("triplets", TRIPLETS, f"compared-{name}")
        stage.write(from_rows(random.Random(0).sample(rows, count) + test, TRIPLETS))
        stage.commit(config={"count": count}, inputs={"triplets": store.fingerprint("triplets")})
        verify.job(own, "train_fashionblip2")
        verify.job(own, "evaluate_model")
        figures |= verify.recall(own, name)
    return figures


def usable(store: Store) -> list[dict[str, Any]]:
    """Triplets with a text."""
    return [row for row in store.read("triplets").to_pylist() if row["status"] == OK]


def tag_truth(store: Store) -> dict[str, float]:
    """Precision and recall of the attributes that captions come with; truth is read out of true captions."""
    words, known = taxonomy.load(), garments(store)
    stated = true = wanted = 0
    for row in store.read("captions", ["image_id", "attributes"]).to_pylist():
        claims = dict(row["attributes"] or {})
        facts = words.attributes(wording.caption(known[row["image_id"]]))
        stated, wanted = stated + len(claims), wanted + len(facts)
        true += len(claims.items() & facts.items())
    return {"caption_precision": round(true / stated, 4), "caption_recall": round(true / wanted, 4)}


def corruption(store: Store, folder: Path, training: bool) -> dict[str, Any]:
    """How well faithfulness finds a fifth of the texts, made wrong, and R@10 with and without them."""
    folder.mkdir()
    corrupted = verify.prepare(store, folder)
    kinds = verify.write_corrupted(store, corrupted, garments(store), share=0.2, seed=0)
    verify.job(corrupted, "verify_triplets", "--verify.ranks", "false")
    found = verify.detection(corrupted, kinds, least=1.0)
    kept = ("corruption_auroc", "corruption_auroc_by_kind", "corrupted_left_out", "others_left_out")
    figures = {name: found[name] for name in kept}
    return figures | verify.trained(corrupted, found, epochs=4, least=1.0, seed=0) if training else figures


def main() -> None:
    """Prints as it goes; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=2000, help="of two pictures each")
    parser.add_argument(
        "--training",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train on corrupted and filtered, one-stage and two-stage texts as well, half of the time",
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder, EngineWatch() as watch:
        workspace = f"{folder}/workspace"
        words = ["--workspace", workspace, "--catalog.num_products", str(given.products)]
        raw = BetweenRaw(Path(folder) / "answers.json")
        stages = {name: STAGES[name] for name in ANNOTATED_BY} | {"caption": raw}
        if code := run_jobs(__doc__, stages, argv=words):
            raise SystemExit(code)
        store = Store(workspace)
        captions = store.require("captions")
        triplets = store.require("triplets")
        figures = {
            "images": captions.rows,
            "pairs": triplets.rows,
            **caption_truth(store),
            **modification_truth(store),
            **verified(store),
            **speed(store, watch, raw),
            **one_stage(store, Path(folder) / "one-stage"),
            **(
                stages_compared(store, Store(f"{folder}/one-stage"), Path(folder) / "compared")
                if given.training
                else {}
            ),
            **corruption(store, Path(folder) / "corrupted", given.training),
            "caption_seconds": captions.extra["usage"]["seconds"],
            "caption_tokens_per_s": captions.extra["usage"]["tokens_per_s"],
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
