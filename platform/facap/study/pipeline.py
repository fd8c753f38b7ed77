"""Trains every variant with every seed and says which claims hold: the artefact "study" and its report.

    run(store, StudyConfig(), Progress("study"))         # <workspace>/study/data-<key>/<variant>-<seed>.json

Trainings are tasks of Ray, side by side. Each is one file, written when it is done, so a killed study goes on
with those that lack. Texts by models are written before that, by the stages of a real run. The figures are in
the artefact's `extra` and in reports/study.json.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from facap import reports
from facap.errors import ConfigError
from facap.model import checkpoints
from facap.model.config import FashionBlip2Config
from facap.progress import Progress, StageReport
from facap.store import Store, stage_key
from facap.study import drawn
from facap.study.annotated import Annotated, Annotators
from facap.study.config import StudyConfig
from facap.study.figures import figures_of
from facap.study.variants import VARIANTS, Texts

VERSION = 1
NAME = "study"
TEXTS: tuple[Texts, ...] = ("fine", "coarse")
DATA_SEED = 0
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def run(
    store: Store, config: StudyConfig, progress: Progress, annotators: Annotators | None = None
) -> StageReport:
    """Trains what is not trained yet, and writes the table. ConfigError for an unknown variant."""
    annotators = annotators or Annotators()
    began = time.monotonic()
    names = config.variants or tuple(VARIANTS)
    if unknown := sorted(set(names) - VARIANTS.keys()):
        raise ConfigError(f"study.variants: '{unknown[0]}' is not one of {', '.join(VARIANTS)}")
    settings = config.model_dump(mode="json", exclude={"threads", "variants", "seeds"})
    inputs = {"base": checkpoints.label(FashionBlip2Config().base)}
    stage = store.stage(NAME, None, stage_key(NAME, VERSION, settings, inputs))
    folder = Path(stage.folder)
    folder.mkdir(parents=True, exist_ok=True)
    file_of = _files(config, names, annotators)
    todo = {one: file for one, file in file_of.items() if not (folder / file).exists()}
    if todo:
        _train(store, config, folder, todo, len(file_of), annotators, progress)
    found = {name: [_read(folder / file_of[seed, name]) for seed in range(config.seeds)] for name in names}
    oracle = _read(folder / "oracle.json")
    figures = figures_of(found, oracle) | {
        "steps": config.steps,
        "seeds": config.seeds,
        "gallery": config.families * drawn.SIZE,
        "queries": len(oracle["fine"]),
    }
    page = reports.template(TEMPLATE).render(figures=figures, variants=VARIANTS)
    reports.keep(store, NAME, page, figures)
    files = ["oracle.json", *file_of.values()]
    stage.commit(config=config.model_dump(mode="json"), inputs=inputs, files=files, extra=figures)
    held = sum(claim["verdict"] == "confirmed" for claim in figures["claims"])
    note = f"{len(todo)} trained now; {held} of {len(figures['claims'])} claims confirmed"
    return StageReport(
        NAME, len(file_of), len(file_of), seconds=time.monotonic() - began, reused=not todo, note=note
    )


def _files(config: StudyConfig, names: tuple[str, ...], annotators: Annotators) -> dict[tuple[int, str], str]:
    """(seed, variant) -> the file of its training, which says who wrote the texts if that was a model."""
    by = f"-{annotators.label}" if any(VARIANTS[name].annotated for name in names) else ""
    return {
        (seed, name): f"{name}{by if VARIANTS[name].annotated else ''}-{seed}.json"
        for seed in range(config.seeds)
        for name in names
    }


def _train(
    store: Store,
    config: StudyConfig,
    folder: Path,
    todo: dict[tuple[int, str], str],
    total: int,
    annotators: Annotators,
    progress: Progress,
) -> None:
    """Trains side by side, as many at once as the cluster has CPUs for, and writes what each found."""
    import ray

    progress.say(f"drawing {config.families * drawn.SIZE:,} garments")
    draw = ray.remote(num_cpus=1)(_draw)
    roots = dict(
        zip(TEXTS, ray.get([draw.remote(store.root, config.families, t) for t in TEXTS]), strict=True)
    )
    if not (folder / "oracle.json").exists():
        hits = ray.remote(num_cpus=1)(_oracle).remote(roots, config.families)
        _write(folder / "oracle.json", ray.get(hits))
    written = _written(store, roots["fine"], {name for _, name in todo}, config, annotators, progress)
    hold = ray.remote(num_cpus=config.threads)(_hold)
    train = ray.remote(num_cpus=config.threads)(_hits)
    held: dict[Any, Any] = {}  # adapted blocks -> the states below them
    running: dict[Any, tuple[int, str]] = {}
    for seed, name in todo:
        depth = VARIANTS[name].depth()
        if depth not in held:
            held[depth] = hold.remote(roots["fine"], name)
        learnt = written.get(VARIANTS[name].texts)
        running[train.remote(roots, name, seed, config, held[depth], learnt)] = (seed, name)
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        seed, name = running.pop(done)
        hits = ray.get(done)
        _write(folder / todo[seed, name], hits)
        recalls = ", ".join(f"{np.mean(found):.1%} {texts}" for texts, found in hits.items())
        progress.say(f"{name}, seed {seed}: R@10 {recalls}")
        progress.update(total - len(running), total, "trainings")


def _written(
    store: Store,
    fine: str,
    names: set[str],
    config: StudyConfig,
    annotators: Annotators,
    progress: Progress,
) -> dict[str, Any]:
    """The triplets of each way to come by texts that `names` learn from, as a reference of Ray's."""
    import ray

    ways = sorted({VARIANTS[name].texts for name in names if VARIANTS[name].annotated})
    if not ways:
        return {}
    garments = drawn.garments_of(config.families, DATA_SEED)
    texts = Annotated(store, Store(fine), garments, annotators)
    rows = {way: texts.rows(way, progress) for way in ways}
    progress.say(", ".join(f"{len(table):,} triplets {way}" for way, table in rows.items()))
    return {way: ray.put(table) for way, table in rows.items()}


def _draw(root: str, families: int, texts: Texts) -> str:
    return drawn.make(Store(root).path(f"{NAME}-{texts}"), families, DATA_SEED, texts).root


def _oracle(roots: dict[str, str], families: int) -> dict[str, list[int]]:
    from facap.study.training import oracle_hits

    garments = drawn.garments_of(families, DATA_SEED)
    return {texts: oracle_hits(Store(root), garments) for texts, root in roots.items()}


def _hold(root: str, name: str) -> Any:
    from facap.study.training import held_for

    return held_for(Store(root), name)


def _hits(
    roots: dict[str, str], name: str, seed: int, config: StudyConfig, held: Any, annotated: Any
) -> dict[str, list[int]]:
    from facap.study.training import hits_of

    stores = {texts: Store(root) for texts, root in roots.items()}
    return hits_of(stores, name, seed, config, held, annotated)


def _read(path: Path) -> dict[str, list[int]]:
    return dict(json.loads(path.read_text()))


def _write(path: Path, value: dict[str, list[int]]) -> None:
    """There whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
