"""How queries and galleries are formed, and the rows of METRICS that come of it.

A `Task` is one category under one protocol: some queries, and the pictures that each is ranked among. Figures
of different protocols must never be compared; every row of METRICS names its own.

| protocol | gallery | a query's own reference |
| --- | --- | --- |
| reference_excluded | the kept pictures of the category in the whole catalogue, as in a shop | is left out |
| original | the split's list of the category (CLIP4Cir, SPRC) | counts |
| original_no_reference | the same (CoVR-2) | is left out |
| val | the references and targets of the category's queries (TG-CIR, DQU-CIR) | is left out |

recall@k asks for the target image itself; recall_product@k for any view of the target's product. "all" is
the mean over the categories that have queries; its gallery size is their mean too. `coverage` is the share of
a gallery's pictures that are there: a smaller gallery is easier, so a figure below 1 compares with none that
is published.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from facap.errors import FormatError
from facap.evaluate.metrics import (
    NOBODY,
    RECALLS_AT,
    Found,
    bootstrap,
    find,
    interval,
    metric_names,
    summarise,
)
from facap.schemas import OK
from facap.splits import split_of

BENCHMARK = "catalogue_test"
CATALOGUE = "reference_excluded"
ALL = "all"
GALLERY_COLUMNS = ["image_id", "product_id", "category", "status", "duplicate_of"]
QUERY_COLUMNS = ["reference_id", "target_id", "category", "modification", "split", "status", "place"]


@dataclass(frozen=True)
class Query:
    """One triplet that is asked."""

    reference_id: str
    target_id: str
    category: str
    text: str
    place: int | None = None  # in the file that it was imported from

    def key(self) -> str:
        """The same for the same query in any evaluation, 16 hex digits."""
        said = "\x1f".join([self.reference_id, self.target_id, self.text, str(self.place)])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Candidate:
    """One image of a gallery."""

    image_id: str
    product_id: str
    category: str


@dataclass(frozen=True)
class Vectors:
    """What one model made of the pictures and queries."""

    gallery: Mapping[str, np.ndarray]  # image_id -> (D,)
    queries_QD: np.ndarray  # in the order of the queries


@dataclass(frozen=True)
class Rules:
    """A published protocol."""

    listed: bool  # ranks among the split's list; else among the references and targets of the queries
    reference: bool  # a query's own reference counts


PUBLISHED = {
    "original": Rules(listed=True, reference=True),
    "original_no_reference": Rules(listed=True, reference=False),
    "val": Rules(listed=False, reference=False),
}


@dataclass(frozen=True)
class Task:
    """The queries of one category, by their numbers, and the pictures that each is ranked among."""

    benchmark: str
    protocol: str
    category: str
    queries: list[int]
    gallery: list[Candidate]
    reference: bool  # a query's own reference counts

    @property
    def size(self) -> int:
        """Candidates of a query."""
        return len(self.gallery) - (not self.reference)


@dataclass(frozen=True)
class Answered:
    """What a model made of a task: of its queries that can be asked, what they find."""

    asked: list[int]  # their numbers
    target: Found
    product: Found
    coverage: float  # share of the gallery's pictures that are there


Answer = Callable[[Task], Answered]


def read_gallery(images: pa.Table, whole_catalogue: bool = True) -> list[Candidate]:
    """The kept images of all products, or of the test split's alone, by image_id; needs no `bytes`."""
    found = {}
    for row in images.select(GALLERY_COLUMNS).to_pylist():
        wanted = whole_catalogue or split_of(row["product_id"]) == "test"
        if wanted and row["status"] == OK and row["duplicate_of"] is None:
            found[row["image_id"]] = Candidate(row["image_id"], row["product_id"], row["category"])
    return [found[image_id] for image_id in sorted(found)]


def read_queries(triplets: pa.Table, split: str = "test") -> list[Query]:
    """The triplets of a split whose text was written, by reference and target."""
    queries = [
        Query(row["reference_id"], row["target_id"], row["category"], row["modification"], row["place"])
        for row in triplets.select(QUERY_COLUMNS).to_pylist()
        if row["split"] == split and row["status"] == OK and row["modification"]
    ]
    return sorted(queries, key=lambda query: (query.reference_id, query.target_id, query.text))


def catalogue_tasks(queries: Sequence[Query], gallery: Sequence[Candidate]) -> list[Task]:
    """A catalogue of one's own: each category that has queries."""
    return [
        Task(BENCHMARK, CATALOGUE, category, mine, [c for c in gallery if c.category == category], False)
        for category, mine in _by_category(queries).items()
    ]


def published_tasks(
    benchmark: str,
    protocols: Iterable[str],
    queries: Sequence[Query],
    listed: Mapping[str, Sequence[str]],
) -> list[Task]:
    """A dataset with lists of images, under protocols of PUBLISHED; `listed`: category -> image_ids."""
    tasks = []
    for protocol in protocols:
        rules = PUBLISHED[protocol]
        for category, mine in _by_category(queries).items():
            asked = [image for i in mine for image in (queries[i].reference_id, queries[i].target_id)]
            images = dict.fromkeys(listed.get(category, ()) if rules.listed else sorted(asked))
            gallery = [Candidate(image, image, category) for image in images]
            tasks.append(Task(benchmark, protocol, category, mine, gallery, rules.reference))
    return tasks


def _by_category(queries: Sequence[Query]) -> dict[str, list[int]]:
    """Numbers of the queries, categories in alphabetical order."""
    found: dict[str, list[int]] = {category: [] for category in sorted({q.category for q in queries})}
    for number, query in enumerate(queries):
        found[query.category].append(number)
    return found


def by_vectors(queries: Sequence[Query], vectors: Vectors) -> Answer:
    """Ranks by the score of vectors. Pictures without one are left out, and so are queries that need them."""

    def answer(task: Task) -> Answered:
        there = [candidate for candidate in task.gallery if candidate.image_id in vectors.gallery]
        row_of = {candidate.image_id: row for row, candidate in enumerate(there)}
        asked = [i for i in task.queries if _can_be_asked(queries[i], task, row_of, vectors)]
        empty = Found(np.zeros(0, np.int64), np.zeros(0))
        coverage = len(there) / max(1, len(task.gallery))
        if not asked:
            return Answered([], empty, empty, coverage)
        gallery_GD = np.stack([vectors.gallery[candidate.image_id] for candidate in there])
        targets = np.array([row_of[queries[i].target_id] for i in asked])
        references = np.array(
            [NOBODY if task.reference else row_of.get(queries[i].reference_id, NOBODY) for i in asked]
        )
        products_G = np.unique([candidate.product_id for candidate in there], return_inverse=True)[1]
        queries_QD = vectors.queries_QD[asked]
        return Answered(
            asked,
            find(queries_QD, gallery_GD, references, targets),
            find(queries_QD, gallery_GD, references, targets, products_G),
            coverage,
        )

    return answer


def by_rankings(queries: Sequence[Query], rankings: Mapping[int, Sequence[str]]) -> Answer:
    """Ranks by lists of image_ids, best first, by the number of the query.

    Pictures outside of a task's gallery are passed over. A target that a list does not name ranks last.
    Raises FormatError if a list is missing or too short for the deepest recall.
    """

    def answer(task: Task) -> Answered:
        gallery = {candidate.image_id for candidate in task.gallery}
        ranks = []
        for number in task.queries:
            query = queries[number]
            if number not in rankings:
                raise FormatError(f"the query of '{query.reference_id}' ('{query.text[:60]}') has no ranking")
            left_out = set() if task.reference else {query.reference_id}
            named = [i for i in dict.fromkeys(rankings[number]) if i in gallery and i not in left_out]
            least = min(RECALLS_AT[-1], task.size)
            if len(named) < least:
                raise FormatError(
                    f"the ranking of '{query.reference_id}' names {len(named)} pictures of protocol "
                    f"{task.protocol}'s gallery, recall@{RECALLS_AT[-1]} needs {least}; give longer lists"
                )
            target = query.target_id
            ranks.append(named.index(target) + 1 if target in named else task.size)
        found = Found(np.array(ranks, np.int64), 1 / np.array(ranks, np.float64))
        return Answered(task.queries, found, found, 1.0)

    return answer


def _can_be_asked(query: Query, task: Task, row_of: Mapping[str, int], vectors: Vectors) -> bool:
    """Both pictures are there, and the target is not left out as the reference."""
    there = query.target_id in row_of and query.reference_id in vectors.gallery
    return there and (task.reference or query.target_id != query.reference_id)


def evaluate(
    model_version: str,
    tasks: Sequence[Task],
    answers: Sequence[Answered],
    samples: int,
    confidence: float,
    seed: int,
) -> list[dict]:
    """METRICS rows of one model: for each benchmark and protocol each category with queries, then "all".

    The resamples depend on `seed`, the number of queries and the place of the category only, so models are
    compared on the same ones.
    """
    rows: list[dict] = []
    for benchmark, protocol in dict.fromkeys((task.benchmark, task.protocol) for task in tasks):
        both = zip(tasks, answers, strict=True)
        mine = [pair for pair in both if (pair[0].benchmark, pair[0].protocol) == (benchmark, protocol)]
        values, resamples, counts = [], [], []
        for number, (task, found) in enumerate(mine):
            size = len(found.target.ranks)
            if not size:
                continue
            values.append(summarise(found.target, found.product))
            drawn = bootstrap(found.target, found.product, samples, np.random.default_rng([seed, number]))
            resamples.append(drawn)
            counts.append((size, task.size, found.coverage))
            bounds = interval(drawn, confidence)
            rows += _rows(model_version, task, task.category, values[-1], bounds, counts[-1])
        if values:
            asked, sizes, coverages = zip(*counts, strict=True)
            bounds = interval(np.mean(resamples, axis=0), confidence)
            whole = (sum(asked), round(float(np.mean(sizes))), float(np.mean(coverages)))
            rows += _rows(model_version, mine[0][0], ALL, np.mean(values, axis=0), bounds, whole)
    return rows


def rank_rows(
    model_version: str, tasks: Sequence[Task], answers: Sequence[Answered], queries: Sequence[Query]
) -> list[dict]:
    """RANKS rows of one model."""
    return [
        {
            "model_version": model_version,
            "benchmark": task.benchmark,
            "protocol": task.protocol,
            "category": task.category,
            "query": queries[number].key(),
            "reference_id": queries[number].reference_id,
            "target_id": queries[number].target_id,
            "rank": int(rank),
        }
        for task, found in zip(tasks, answers, strict=True)
        for number, rank in zip(found.asked, found.target.ranks, strict=True)
    ]


def _rows(
    model_version: str,
    task: Task,
    category: str,
    values_M: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    counts: tuple[int, int, float],
) -> list[dict]:
    num_queries, gallery_size, coverage = counts
    return [
        {
            "model_version": model_version,
            "benchmark": task.benchmark,
            "protocol": task.protocol,
            "category": category,
            "metric": metric,
            "value": float(value),
            "ci_low": float(low),
            "ci_high": float(high),
            "num_queries": num_queries,
            "gallery_size": gallery_size,
            "coverage": coverage,
        }
        for metric, value, low, high in zip(metric_names(), values_M, *bounds, strict=True)
    ]
