"""Ranks, recalls and intervals against hand-computed values and brute force."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.evaluate.metrics import NOBODY, Found, bootstrap, find, interval, metric_names, summarise
from facap.evaluate.protocol import (
    Candidate,
    Query,
    Vectors,
    by_vectors,
    catalogue_tasks,
    evaluate,
    read_gallery,
    read_queries,
)
from facap.evaluate.report import retrieval_table
from facap.schemas import METRICS, from_rows
from facap.splits import split_of


def of_ranks(ranks: list[int]) -> Found:
    """What queries found whose target is the only right one."""
    return Found(np.array(ranks), 1 / np.array(ranks))


def test_ranks_by_hand() -> None:
    gallery = np.eye(4, dtype=np.float32)
    queries = np.array([[0.9, 0.5, 0.7, 0.1], [0.2, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]], np.float32)
    references, targets = np.array([0, 0, 3]), np.array([1, 1, 2])
    # 1: candidates 1..3 score .5 .7 .1; 2: all three tie, against the model; 3: the reference is left out
    found = find(queries, gallery, references, targets)
    assert found.ranks.tolist() == [2, 3, 1] and found.precisions.tolist() == [1 / 2, 1 / 3, 1]
    counting = find(queries, gallery, np.full(3, NOBODY), targets)
    assert counting.ranks.tolist() == [3, 4, 2]  # every reference scores at least as much


def test_any_view_of_the_product_counts_only_for_the_product() -> None:
    gallery = np.eye(4, dtype=np.float32)
    products = np.array([0, 1, 1, 2])
    query = np.array([[0.0, 0.1, 0.9, 0.5]], np.float32)
    reference, target = np.array([0]), np.array([1])
    assert find(query, gallery, reference, target).ranks.tolist() == [3]
    found = find(query, gallery, reference, target, products)
    assert found.ranks.tolist() == [1]
    assert found.precisions.tolist() == [(1 / 1 + 2 / 3) / 2]  # the second view comes behind one wrong one


def test_a_target_is_never_a_view_of_its_reference() -> None:
    with pytest.raises(AssertionError, match="a target is its reference"):
        find(np.ones((1, 2)), np.ones((2, 2)), np.array([1]), np.array([1]))


def brute_force(scores: list[int], reference: int, right: set[int]) -> tuple[int, float]:
    """Best rank and average precision of one query, by sorting: of equals the wrong ones come first."""
    ranked = [i for i in range(len(scores)) if i != reference]
    ranked.sort(key=lambda i: (-scores[i], i in right))
    hits = [place for place, i in enumerate(ranked, 1) if i in right]
    wrong_before = hits[0] - 1
    return wrong_before + 1, sum(n / place for n, place in enumerate(hits, 1)) / len(hits)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_what_is_found_against_brute_force(data: st.DataObject) -> None:
    """Few values, so many ties; several views of a product; references that count and that do not."""
    size = data.draw(st.integers(2, 12))
    products = [0, 1, *data.draw(st.lists(st.integers(0, 4), min_size=size - 2, max_size=size - 2))]
    rows = st.lists(st.integers(0, 4), min_size=size, max_size=size)
    queries = data.draw(st.lists(rows, min_size=1, max_size=5))
    pairs = [(a, b) for a in range(size) for b in range(size) if products[a] != products[b]]
    chosen = [data.draw(st.sampled_from(pairs)) for _ in queries]
    asked = [(NOBODY if data.draw(st.booleans()) else a, b) for a, b in chosen]
    references, targets = (np.array(side) for side in zip(*asked, strict=True))
    gallery, vectors = np.eye(size, dtype=np.float32), np.array(queries, np.float32)
    strict = find(vectors, gallery, references, targets)
    loose = find(vectors, gallery, references, targets, np.array(products))
    for i, (scores, (reference, target)) in enumerate(zip(queries, asked, strict=True)):
        views = {v for v in range(size) if products[v] == products[target]}
        for found, right in ((strict, {target}), (loose, views)):
            assert (found.ranks[i], pytest.approx(found.precisions[i])) == brute_force(
                scores, reference, right
            )


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    queries, gallery = rng.integers(-3, 4, (50, 8)), rng.integers(-3, 4, (30, 8))
    references, targets = rng.integers(0, 15, 50), rng.integers(15, 30, 50)
    whole = find(queries, gallery, references, targets)
    monkeypatch.setattr("facap.evaluate.metrics.QUERIES_AT_ONCE", 7)
    assert (find(queries, gallery, references, targets).ranks == whole.ranks).all()


def test_summary_by_hand() -> None:
    product = Found(np.array([1, 1, 6, 50]), np.array([1, 0.5, 0.25, 0.05]))
    values = summarise(of_ranks([1, 3, 10, 60]), product)
    assert dict(zip(metric_names(), values.tolist(), strict=True)) == {
        "recall@1": 0.25,
        "recall@5": 0.5,
        "recall@10": 0.75,
        "recall@50": 0.75,
        "recall_product@1": 0.5,
        "recall_product@5": 0.5,
        "recall_product@10": 0.75,
        "recall_product@50": 1.0,
        "map": pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 60) / 4),
        "map_product": pytest.approx(0.45),
        "median_rank": 6.5,
    }


def test_bootstrap_is_seeded_and_covers() -> None:
    found = of_ranks(np.random.default_rng(0).geometric(0.1, size=400).tolist())
    first = bootstrap(found, found, 500, np.random.default_rng(7))
    again = bootstrap(found, found, 500, np.random.default_rng(7))
    assert (first == again).all() and first.shape == (500, len(metric_names()))
    assert not (first == bootstrap(found, found, 500, np.random.default_rng(8))).all()
    low, high = interval(first, 0.95)
    values = summarise(found, found)
    assert (low <= values).all() and (values <= high).all()
    share = values[metric_names().index("recall@10")]
    width = 2 * 1.96 * np.sqrt(share * (1 - share) / 400)  # the normal approximation, for a sanity check
    index = metric_names().index("recall@10")
    assert high[index] - low[index] == pytest.approx(width, rel=0.2)


def test_one_query_has_an_interval_of_its_own_value() -> None:
    one = of_ranks([3])
    low, high = interval(bootstrap(one, one, 100, np.random.default_rng(0)), 0.95)
    assert (low == high).all()


def small_world() -> tuple[list[Query], list[Candidate], Vectors]:
    """Two categories of unequal size, in which a model finds the target of every dress and of no top."""
    gallery = [Candidate(f"d{i}", f"pd{i}", "dress") for i in range(4)]
    gallery += [Candidate(f"t{i}", f"pt{i}", "top") for i in range(12)]
    queries = [
        Query("d0", "d1", "dress", "x"),
        Query("d1", "d2", "dress", "x"),
        Query("d2", "d3", "dress", "x"),
    ]
    queries += [Query("t0", "t1", "top", "x")]
    axes = {c.image_id: axis for c, axis in zip(gallery, np.eye(16, dtype=np.float32), strict=True)}
    tops = sum(axes[f"t{i}"] for i in range(2, 12))
    return queries, gallery, Vectors(axes, np.stack([axes["d1"], axes["d2"], axes["d3"], tops]))


def test_all_is_the_mean_over_categories() -> None:
    queries, gallery, vectors = small_world()
    tasks = catalogue_tasks(queries, gallery)
    answers = [by_vectors(queries, vectors)(task) for task in tasks]
    rows = evaluate("m@1", tasks, answers, samples=100, confidence=0.95, seed=0)
    assert from_rows(rows, METRICS).num_rows == 3 * len(metric_names())
    found = {(row["category"], row["metric"]): row for row in rows}
    assert found["dress", "recall@1"]["value"] == 1 and found["top", "recall@10"]["value"] == 0
    assert found["all", "recall@10"]["value"] == 0.5  # not 3/4: categories weigh the same
    assert found["top", "median_rank"]["value"] == 11
    assert [found[c, "recall@1"]["num_queries"] for c in ("dress", "top", "all")] == [3, 1, 4]
    assert [found[c, "recall@1"]["gallery_size"] for c in ("dress", "top", "all")] == [3, 11, 7]
    assert rows == evaluate("m@1", tasks, answers, samples=100, confidence=0.95, seed=0)
    assert {row["coverage"] for row in rows} == {1.0}


def test_table_puts_the_best_first() -> None:
    queries, gallery, vectors = small_world()
    perfect = Vectors(vectors.gallery, np.stack([vectors.gallery[query.target_id] for query in queries]))
    tasks = catalogue_tasks(queries, gallery)
    rows = []
    for name, made in (("baseline/sum@b", vectors), ("fashionblip2@m", perfect)):
        answers = [by_vectors(queries, made)(task) for task in tasks]
        rows += evaluate(name, tasks, answers, 100, 0.95, 0)
    lines = retrieval_table(rows).splitlines()
    assert lines[0].split()[:2] == ["model", "R@1"] and lines[0].split()[-1] == "gallery"
    assert [line.split()[0] for line in lines[2:]] == ["fashionblip2", "baseline/sum"]
    assert "100.0 [100.0, 100.0]" in lines[2] and "50.0 [50.0, 50.0]" in lines[3]
    assert lines[2].split()[-1] == "7"


def test_gallery_and_queries_are_those_of_the_test_split() -> None:
    products = [f"p{i}" for i in range(60)]
    images = pa.table(
        {
            "image_id": [f"{p}-{v}" for p in products for v in (0, 1)],
            "product_id": [p for p in products for _ in (0, 1)],
            "category": ["top"] * 120,
            "status": ["ok"] * 118 + ["http_404", "ok"],
            "duplicate_of": pa.array([None, "other"] + [None] * 118, pa.string()),
        }
    )
    gallery = read_gallery(images, whole_catalogue=False)
    assert {c.image_id for c in gallery} < {c.image_id for c in read_gallery(images)}
    assert {c.product_id for c in gallery} <= {p for p in products if split_of(p) == "test"}
    assert "p0-1" not in {c.image_id for c in gallery} and [c.image_id for c in gallery] == sorted(
        c.image_id for c in gallery
    )
    triplets = pa.table(
        {
            "reference_id": ["a", "b", "c"],
            "target_id": ["x", "y", "z"],
            "category": ["top"] * 3,
            "modification": ["make it red", None, "make it blue"],
            "split": ["test", "test", "train"],
            "status": ["ok", "empty", "ok"],
            "place": [4, 5, 6],
        }
    )
    assert read_queries(triplets) == [Query("a", "x", "top", "make it red", 4)]
