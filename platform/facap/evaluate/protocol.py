"""How queries and galleries are formed, and the rows of METRICS that come of it.

Protocol "reference_excluded", per category: a query is a TRIPLETS row of the test split with a modification
text, so its reference and target are of products that no training triplet shows; its gallery is every
kept image of its category in the whole catalogue but the reference, as in a shop (or of the test split
alone, by setting).
recall@k asks for the target image itself; recall_product@k for any view of the target's product.
"all" is the mean over the categories that have queries; its gallery size is their mean too.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from facap.evaluate.metrics import bootstrap, interval, metric_names, product_ranks, summarise, target_ranks
from facap.schemas import OK
from facap.splits import split_of

BENCHMARK = "catalogue_test"
PROTOCOL = "reference_excluded"
ALL = "all"
GALLERY_COLUMNS = ["image_id", "product_id", "category", "status", "duplicate_of"]
QUERY_COLUMNS = ["reference_id", "target_id", "category", "modification", "split", "status"]


@dataclass(frozen=True)
class Query:
    """One test triplet."""

    reference_id: str
    target_id: str
    category: str
    text: str


@dataclass(frozen=True)
class Candidate:
    """One image of a gallery."""

    image_id: str
    product_id: str
    category: str


@dataclass(frozen=True)
class Vectors:
    """What one model made of the test split."""

    gallery: dict[str, np.ndarray]  # image_id -> (D,)
    queries_QD: np.ndarray  # in the order of the queries


def read_gallery(images: pa.Table, whole_catalogue: bool = True) -> list[Candidate]:
    """The kept images of all products, or of the test split's alone, by image_id; needs no `bytes`."""
    found = {}
    for row in images.select(GALLERY_COLUMNS).to_pylist():
        wanted = whole_catalogue or split_of(row["product_id"]) == "test"
        if wanted and row["status"] == OK and row["duplicate_of"] is None:
            found[row["image_id"]] = Candidate(row["image_id"], row["product_id"], row["category"])
    return [found[image_id] for image_id in sorted(found)]


def read_queries(triplets: pa.Table) -> list[Query]:
    """The test triplets whose text was written, by reference and target."""
    queries = [
        Query(row["reference_id"], row["target_id"], row["category"], row["modification"])
        for row in triplets.select(QUERY_COLUMNS).to_pylist()
        if row["split"] == "test" and row["status"] == OK and row["modification"]
    ]
    return sorted(queries, key=lambda query: (query.reference_id, query.target_id, query.text))


def evaluate(
    model_version: str,
    vectors: Vectors,
    queries: list[Query],
    gallery: list[Candidate],
    samples: int,
    confidence: float,
    seed: int,
) -> list[dict]:
    """METRICS rows of one model: each category that has queries, then "all".

    The resamples depend on `seed` and the category only, so models are compared on the same ones.
    """
    rows: list[dict] = []
    values, resamples, sizes = [], [], []
    for number, category in enumerate(sorted({query.category for query in queries})):
        mine = [i for i, query in enumerate(queries) if query.category == category]
        candidates = [candidate for candidate in gallery if candidate.category == category]
        ranks, by_product = _ranks([queries[i] for i in mine], vectors.queries_QD[mine], candidates, vectors)
        values.append(summarise(ranks[None], by_product[None])[0])
        resamples.append(bootstrap(ranks, by_product, samples, np.random.default_rng([seed, number])))
        sizes.append(len(candidates) - 1)
        bounds = interval(resamples[-1], confidence)
        rows += _rows(model_version, category, values[-1], bounds, len(mine), sizes[-1])
    mean = np.mean(values, axis=0)
    bounds = interval(np.mean(resamples, axis=0), confidence)
    return rows + _rows(model_version, ALL, mean, bounds, len(queries), round(float(np.mean(sizes))))


def _ranks(
    queries: list[Query], queries_QD: np.ndarray, candidates: list[Candidate], vectors: Vectors
) -> tuple[np.ndarray, np.ndarray]:
    row_of = {candidate.image_id: row for row, candidate in enumerate(candidates)}
    gallery_GD = np.stack([vectors.gallery[candidate.image_id] for candidate in candidates])
    references = np.array([row_of[query.reference_id] for query in queries])
    targets = np.array([row_of[query.target_id] for query in queries])
    products_G = np.unique([candidate.product_id for candidate in candidates], return_inverse=True)[1]
    return (
        target_ranks(queries_QD, gallery_GD, references, targets),
        product_ranks(queries_QD, gallery_GD, references, targets, products_G),
    )


def _rows(
    model_version: str,
    category: str,
    values_M: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    num_queries: int,
    gallery_size: int,
) -> list[dict]:
    return [
        {
            "model_version": model_version,
            "benchmark": BENCHMARK,
            "protocol": PROTOCOL,
            "category": category,
            "metric": metric,
            "value": float(value),
            "ci_low": float(low),
            "ci_high": float(high),
            "num_queries": num_queries,
            "gallery_size": gallery_size,
        }
        for metric, value, low, high in zip(metric_names(), values_M, *bounds, strict=True)
    ]
