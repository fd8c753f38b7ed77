"""Published protocols against brute force and the official counts, and other models' files scored by them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.errors import ConfigError, FormatError
from facap.evaluate.config import EvaluateConfig, SubmissionConfig
from facap.evaluate.protocol import (
    PUBLISHED,
    Query,
    Vectors,
    by_rankings,
    by_vectors,
    evaluate,
    published_tasks,
)
from facap.evaluate.questions import read_questions
from facap.evaluate.report import retrieval_tables
from facap.evaluate.submission import score
from facap.schemas import METRICS, from_rows
from facap.store import Store
from tests.formats_data import load

CATEGORIES = ("dress", "shirt", "toptee")
FAST = EvaluateConfig(bootstrap_samples=100)


def brute_force(
    protocol: str, query: Query, scores: dict[str, float], listed: list[str], asked: list[Query]
) -> int | None:
    """The target's rank by the protocol's own words; None if the query cannot be asked."""
    named = {image for q in asked for image in (q.reference_id, q.target_id)}
    gallery = {image for image in (named if protocol == "val" else listed) if image in scores}
    if protocol != "original":
        gallery.discard(query.reference_id)
    if query.target_id not in gallery or query.reference_id not in scores:
        return None
    worse = sorted(gallery, key=lambda image: (-scores[image], image == query.target_id))
    return worse.index(query.target_id) + 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_protocol_against_brute_force(data: st.DataObject) -> None:
    """Ties, images listed twice, images without a picture, references in and outside of the list."""
    images = [f"i{n}" for n in range(data.draw(st.integers(3, 9)))]
    listed = data.draw(st.lists(st.sampled_from(images), min_size=1, max_size=12))
    there = data.draw(st.sets(st.sampled_from(images), min_size=1))
    pair = st.tuples(st.sampled_from(images), st.sampled_from(images))
    pairs = data.draw(st.lists(pair, min_size=1, max_size=5))
    queries = [Query(a, b, "dress", "x") for a, b in pairs]
    axes = {image: axis for image, axis in zip(images, np.eye(len(images), dtype=np.float32), strict=True)}
    values = st.lists(st.integers(0, 3), min_size=len(images), max_size=len(images))
    scores_QG = np.array([data.draw(values) for _ in queries], np.float32)
    vectors = Vectors({image: axes[image] for image in there}, scores_QG)
    for protocol in PUBLISHED:
        (task,) = published_tasks("b", [protocol], queries, {"dress": listed})
        answered = by_vectors(queries, vectors)(task)
        expected = []
        for query, row in zip(queries, scores_QG, strict=True):
            scores = {image: float(row @ axes[image]) for image in there}
            expected.append(brute_force(protocol, query, scores, listed, queries))
        assert answered.target.ranks.tolist() == [rank for rank in expected if rank is not None]
        gallery = {c.image_id for c in task.gallery}
        assert len(gallery) == len(task.gallery)  # what is listed twice is one candidate
        assert answered.coverage == pytest.approx(len(gallery & there) / len(gallery))


def test_missing_pictures_are_said_in_rows_and_table() -> None:
    queries = [Query("a", "b", "dress", "x"), Query("b", "c", "dress", "x")]
    axes = dict(zip("abc", np.eye(3, dtype=np.float32), strict=True))
    vectors = Vectors({k: axes[k] for k in "ab"}, np.array([[0, 1, 0], [0, 0, 1]], np.float32))
    tasks = published_tasks("fiq_val", PUBLISHED, queries, {"dress": ["a", "b", "c"]})
    answers = [by_vectors(queries, vectors)(task) for task in tasks]
    assert [found.asked for found in answers] == [[0]] * 3
    rows = evaluate("m", tasks, answers, 100, 0.95, 0)
    assert {row["num_queries"] for row in rows} == {1} and {row["coverage"] for row in rows} == {2 / 3}
    text = retrieval_tables(from_rows(rows, METRICS))
    assert text.count("33.3% of the gallery is missing: NOT comparable") == 3
    assert [line for line in text.splitlines() if line.startswith("fiq_val, protocol original;")]


@pytest.fixture(scope="module")
def official(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("official")))
    load(store, shared_dir / "fashion-iq", "fashion_iq", name="fashion-iq")
    return store


def test_the_official_files_have_the_counts_that_are_in_print(official: Store) -> None:
    questions = read_questions(official, FAST)
    assert len(questions.queries) == 6016
    found = {(task.benchmark, task.protocol, task.category): task for task in questions.tasks}
    sizes = {"original": (3817, 6346, 5373), "val": (2628, 3089, 2902)}
    sizes["original_no_reference"] = sizes["original"]
    for protocol, expected in sizes.items():
        tasks = [found["fashion-iq_val", protocol, category] for category in CATEGORIES]
        assert tuple(len(task.gallery) for task in tasks) == expected
        assert tuple(len(task.queries) for task in tasks) == (2017, 2038, 1961)
        unseen = [found["fashion-iq_val_unseen", protocol, category] for category in CATEGORIES]
        assert all(len(u.gallery) == len(t.gallery) for u, t in zip(unseen, tasks, strict=True))
        assert 5000 < sum(len(task.queries) for task in unseen) < 6016
    assert any(note.startswith("811 pictures of val are in a train list too") for note in questions.notes)


def test_protocols_need_lists(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "w"))
    folder = tmp_path / "facap"
    (folder / "cir_triplets").mkdir(parents=True)
    records = [{"candidate": "a.jpg", "target": "b.jpg", "captions": ["make it red"]}]
    (folder / "cir_triplets" / "dress_test_triplets.json").write_text(json.dumps(records))
    load(store, folder, "facap")
    with pytest.raises(ConfigError, match="came without any"):
        read_questions(store, EvaluateConfig(protocols=("val",)))


LISTED = [f"B{n:03}" for n in range(60)]
RECORDS = [
    {"target": "B001", "candidate": "B000", "captions": ["is red", "is long"]},
    {"target": "B003", "candidate": "B002", "captions": ["is blue", "is short"]},
]


@pytest.fixture
def small(tmp_path: Path) -> Store:
    """An import of two records in Fashion IQ's layout."""
    folder = tmp_path / "fiq"
    for below, name, value in (
        ("captions", "cap.dress.val.json", RECORDS),
        ("image_splits", "split.dress.val.json", LISTED),
    ):
        (folder / below).mkdir(parents=True)
        (folder / below / name).write_text(json.dumps(value))
    store = Store(str(tmp_path / "w"))
    load(store, folder, "fashion_iq", name="fiq")
    return store


def found(metrics: pa.Table, protocol: str, metric: str) -> float:
    (value,) = (
        row["value"]
        for row in metrics.to_pylist()
        if (row["protocol"], row["category"], row["metric"]) == (protocol, "all", metric)
    )
    return float(value)


def submit(store: Store, folder: Path) -> pa.Table:
    return score(store, SubmissionConfig(folder=str(folder), name="theirs"), FAST)


def test_rankings_of_another_model_are_scored(small: Store, tmp_path: Path) -> None:
    """The first query finds its reference, then its target; the second finds its target at place 12."""
    others = [name for name in LISTED if name not in ("B000", "B001", "B003")]
    first = ["B000", "B001", "B003", *others]
    second = [*others[:11], "B003", "B000", "B001", *others[11:]]
    records = [{"candidate": c, "ranking": r} for c, r in (("B000", first), ("B002", second))]
    (tmp_path / "rankings.dress.json").write_text(json.dumps(records))
    metrics = submit(small, tmp_path)
    assert found(metrics, "original", "recall@1") == 0 and found(metrics, "original", "recall@5") == 0.5
    assert found(metrics, "original", "median_rank") == (2 + 12) / 2
    # without the reference the first target is first; B002, the second's reference, stood before place 12
    assert found(metrics, "original_no_reference", "recall@1") == 0.5
    assert found(metrics, "original_no_reference", "median_rank") == (1 + 11) / 2
    # of the four pictures that queries name, the reference aside
    assert found(metrics, "val", "median_rank") == 1
    kept = json.loads((Path(small.root) / "reports" / "submission-theirs.json").read_text())
    assert len(kept["metrics"]) == metrics.num_rows and kept["metrics"][0]["benchmark"] == "fiq_val"


def test_embeddings_of_another_model_are_scored(small: Store, tmp_path: Path) -> None:
    axes = np.eye(60, dtype=np.float32)
    gallery = {"category": ["dress"] * 60, "image": LISTED, "vector": axes.tolist()}
    pq.write_table(pa.table(gallery), tmp_path / "gallery.parquet")
    asked = np.stack([3 * axes[0] + 2 * axes[1] + axes[5], axes[3]])
    queries = {"category": ["dress"] * 2, "place": [0, 1], "vector": asked.tolist()}
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet")
    metrics = submit(small, tmp_path)
    assert found(metrics, "original", "recall@1") == 0.5 and found(metrics, "val", "recall@1") == 1
    assert found(metrics, "original", "map") == 0.75
    assert set(metrics["coverage"].to_pylist()) == {1.0}


BAD_FILES: list[tuple[str, Any, str]] = [
    ("rankings.dress.json", {"a": 1}, "should be a list of records"),
    ("rankings.dress.json", [], "there is none for place"),
    ("rankings.dress.json", [{"candidate": "B000"}] * 2, "record 0: should be"),
    ("rankings.dress.json", [{"candidate": "B001", "ranking": LISTED}] * 2, "candidate should be that of"),
    (
        "rankings.dress.json",
        [{"candidate": c, "ranking": LISTED[:20]} for c in ("B000", "B002")],
        "give longer lists",
    ),
    ("other.json", [], "a submission has gallery.parquet"),
    (
        "queries.parquet",
        {"category": ["dress"], "place": [0], "vector": [[1.0]]},
        "gallery.parquet and queries",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_files_that_are_no_submission_are_said(
    small: Store, tmp_path: Path, name: str, content: Any, message: str
) -> None:
    if name.endswith(".json"):
        (tmp_path / name).write_text(json.dumps(content))
    else:
        pq.write_table(pa.table(content), tmp_path / name)
    with pytest.raises(FormatError, match=message):
        submit(small, tmp_path)


@pytest.mark.parametrize(
    ("gallery", "queries", "message"),
    [
        ([[1.0, 0.0]] * 60, [[1.0, 0.0], [1.0]], "as many numbers each|as many in each row"),
        ([[1.0, 0.0]] * 60, [[1.0, 0.0], [float("nan"), 0.0]], "finite"),
        ([[1.0, 0.0, 2.0]] * 60, [[1.0, 0.0], [0.0, 1.0]], "or a multiple"),
        ([[1.0, 0.0]] * 60, [[1.0, 0.0]], "1 of 2 queries have no vector"),
    ],
)
def test_vectors_that_do_not_fit_are_said(
    small: Store, tmp_path: Path, gallery: list, queries: list, message: str
) -> None:
    table = {"category": ["dress"] * 60, "image": LISTED, "vector": gallery}
    pq.write_table(pa.table(table), tmp_path / "gallery.parquet")
    places = list(range(len(queries)))
    table = {"category": ["dress"] * len(queries), "place": places, "vector": queries}
    pq.write_table(pa.table(table), tmp_path / "queries.parquet")
    with pytest.raises(FormatError, match=message):
        submit(small, tmp_path)


UNKNOWN = [f"{name}.jpg" for name in LISTED]  # as files are called, not as the lists have it
RANKED = [{"candidate": c, "ranking": [c, *UNKNOWN]} for c in ("B000", "B002")]


@pytest.mark.parametrize(
    ("records", "counts"),
    [
        (RANKED, "60 of the 62 pictures"),
        ([RANKED[0] | {"ranking": [*LISTED, "B999"]}, RANKED[1] | {"ranking": LISTED}], "1 of the 61"),
        ([RANKED[0] | {"ranking": [*LISTED, 7, None, {}]}, RANKED[1] | {"ranking": LISTED}], "3 of the 63"),
    ],
)
def test_a_ranking_of_unknown_names_is_refused(
    small: Store, tmp_path: Path, records: list, counts: str
) -> None:
    (tmp_path / "rankings.dress.json").write_text(json.dumps(records))
    with pytest.raises(FormatError, match=counts) as refusal:
        submit(small, tmp_path)
    said = str(refusal.value)
    assert "in no list of the dataset, e.g. '" in said and "such as 'B000'" in said and "\n" not in said


def test_vectors_of_unknown_names_are_refused_unless_all_that_is_listed_is_there(
    small: Store, tmp_path: Path
) -> None:
    axes = np.eye(61, dtype=np.float32)
    queries = {"category": ["dress"] * 2, "place": [0, 1], "vector": axes[:2].tolist()}
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet")

    def give(images: list) -> None:
        table = {"category": ["dress"] * len(images), "image": images, "vector": axes[: len(images)].tolist()}
        pq.write_table(pa.table(table), tmp_path / "gallery.parquet")

    give(UNKNOWN)
    with pytest.raises(
        FormatError, match=r"60 of the 60 .* e.g. 'dress B000.jpg', .*60 of the 60 listed have"
    ):
        submit(small, tmp_path)
    give([*LISTED[:59], "B999"])
    with pytest.raises(
        FormatError, match=r"1 of the 60 .* 'dress B999', and 1 of the 60 listed have no vector"
    ):
        submit(small, tmp_path)
    give([[name] for name in LISTED])
    with pytest.raises(FormatError, match="image should be a text or a number, is list"):
        submit(small, tmp_path)
    give([*LISTED, "B999"])  # of a split that was not imported
    assert set(submit(small, tmp_path)["coverage"].to_pylist()) == {1.0}
    give(LISTED[:59])  # one picture is not there: said by the coverage, not by an error
    assert min(submit(small, tmp_path)["coverage"].to_pylist()) < 1


def test_a_query_without_a_ranking_is_said() -> None:
    queries = [Query("a", "b", "dress", "x")]
    (task,) = published_tasks("b", ["val"], queries, {})
    with pytest.raises(FormatError, match="has no ranking"):
        by_rankings(queries, {})(task)
