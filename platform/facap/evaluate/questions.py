"""What a workspace asks of a model: queries, and the tasks of the protocols that fit its triplets.

    >>> questions = read_questions(store, EvaluateConfig())                  # doctest: +SKIP
    >>> [(task.protocol, task.category, len(task.queries), task.size) for task in questions.tasks]
    [('original', 'dress', 2017, 3817), ('original', 'shirt', 2038, 6346), ...]

A catalogue is asked under reference_excluded. Triplets that were imported with lists of images (GALLERIES),
as Fashion IQ's, are asked under the published protocols, and once more without the queries that show a
picture of a train list: 811 of Fashion IQ's images are in a train and in a val list, of different categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from facap.errors import ConfigError, StageFailed
from facap.evaluate.config import EvaluateConfig
from facap.evaluate.protocol import (
    CATALOGUE,
    GALLERY_COLUMNS,
    PUBLISHED,
    QUERY_COLUMNS,
    Candidate,
    Query,
    Task,
    catalogue_tasks,
    published_tasks,
    read_gallery,
    read_queries,
)
from facap.store import Store

UNSEEN = "unseen"  # ends the name of a benchmark without what training lists show


@dataclass(frozen=True)
class Questions:
    """Queries, the tasks that they are asked in, and what a reader of the figures should know."""

    queries: list[Query]
    tasks: list[Task]
    notes: list[str] = field(default_factory=list)


def read_questions(store: Store, config: EvaluateConfig) -> Questions:
    """Raises StageFailed if there is nothing to ask, ConfigError if a protocol has no lists to rank among."""
    listed = store.manifest("galleries") is not None
    protocols: tuple[str, ...] = config.protocols or (tuple(PUBLISHED) if listed else (CATALOGUE,))
    split = config.split or ("val" if listed else "test")
    triplets = store.read("triplets", QUERY_COLUMNS)
    queries = read_queries(triplets, split)
    if not queries:
        raise StageFailed(
            f"evaluate: TRIPLETS has no {split} row with a modification text, so there is nothing to score; "
            "crawl more products or look at the failures of the triplets stage"
        )
    tasks, notes = [], []
    if CATALOGUE in protocols:
        gallery = read_gallery(store.read("images", GALLERY_COLUMNS), config.whole_catalogue)
        _check(queries, gallery)
        tasks += catalogue_tasks(queries, gallery)
    published = [name for name in protocols if name in PUBLISHED]
    if published:
        if not listed:
            raise ConfigError(
                f"evaluate.protocols {', '.join(published)} rank among a dataset's lists of images, and "
                "TRIPLETS came without any; import a dataset in Fashion IQ's layout, or leave the setting out"
            )
        found, seen = _lists(store, split)
        lost = sum(row["split"] == split and row["status"] != "ok" for row in triplets.to_pylist())
        notes.append(f"{len(queries):,} queries of {split}, {lost:,} more have no text or no picture")
        tasks += published_tasks(f"{_dataset(store)}_{split}", published, queries, found)
        if seen:
            asked = [q.reference_id not in seen and q.target_id not in seen for q in queries]
            notes.append(
                f"{len(seen):,} pictures of {split} are in a train list too; {sum(asked):,} queries show none"
            )
            tasks += _without(tasks, asked)
    return Questions(queries, tasks, notes)


def _lists(store: Store, split: str) -> tuple[dict[str, list[str]], set[str]]:
    """category -> image_ids of its list; and those of them whose name a train list has too."""
    lists: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    trained: set[str] = set()
    for row in store.read("galleries").sort_by("place").to_pylist():
        if row["split"] == split:
            lists.setdefault(row["category"], []).append(row["image_id"])
            names[row["image_id"]] = row["name"]
        elif row["split"] == "train":
            trained.add(row["name"])
    return lists, {image for image, name in names.items() if name in trained}


def _dataset(store: Store) -> str:
    """The name that TRIPLETS were imported under."""
    (made_by,) = store.read("triplets", ["model"]).slice(0, 1).column(0).to_pylist()
    return str(made_by).partition("@")[0].removeprefix("imported/")


def _without(tasks: Sequence[Task], asked: Sequence[bool]) -> list[Task]:
    """The published tasks with some of their queries; galleries stay."""
    return [
        Task(f"{task.benchmark}_{UNSEEN}", task.protocol, task.category, mine, task.gallery, task.reference)
        for task in tasks
        if task.protocol in PUBLISHED and (mine := [i for i in task.queries if asked[i]])
    ]


def _check(queries: list[Query], gallery: list[Candidate]) -> None:
    category_of = {candidate.image_id: candidate.category for candidate in gallery}
    for query in queries:
        for image_id in (query.reference_id, query.target_id):
            if category_of.get(image_id) != query.category:
                raise StageFailed(
                    f"evaluate: image {image_id} of a test triplet should be a kept image of "
                    f"'{query.category}', is {category_of.get(image_id, 'not there')}; TRIPLETS and IMAGES "
                    "do not belong together, rebuild pairs and triplets"
                )
