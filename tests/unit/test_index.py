"""The index: exact search equals brute force, approximate kinds come close, mismatches are refused."""

import json
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.errors import ConfigError, ContractError
from facap.index.build import (
    FILES,
    IndexMetadata,
    build_index,
    read_metadata,
    require_model,
    write_index,
)
from facap.index.config import IndexConfig
from facap.index.search import CatalogIndex
from facap.model.embed import Unembedded, kept, vectors
from facap.schemas import CATEGORIES, EMBEDDINGS, from_rows


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    faiss.omp_set_num_threads(1)  # OpenMP's waiting threads crawl on a busy machine


def unit_vectors(num: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def ids_table(num: int) -> pa.Table:
    """Two pictures a product, categories in turn."""
    return pa.table(
        {
            "image_id": [f"image{i:05d}" for i in range(num)],
            "item_id": [f"item{i}" for i in range(num)],
            "product_id": [f"product{i // 2}" for i in range(num)],
            "category": [CATEGORIES[(i // 2) % len(CATEGORIES)] for i in range(num)],
        }
    )


def catalog(vectors_ND: np.ndarray, config: IndexConfig | None = None) -> CatalogIndex:
    config = config or IndexConfig()
    num, dim = vectors_ND.shape
    metadata = IndexMetadata("1", "abc", dim, num, config.kind, settings=config.model_dump(mode="json"))
    return CatalogIndex(build_index(vectors_ND, config), ids_table(num), metadata)


@settings(max_examples=40, deadline=None)
@given(
    num=st.integers(1, 60),
    dim=st.integers(2, 24),
    k=st.integers(1, 70),
    seed=st.integers(0, 10_000),
    category=st.sampled_from([None, *CATEGORIES]),
    num_excluded=st.integers(0, 5),
)
def test_flat_search_equals_brute_force(
    num: int, dim: int, k: int, seed: int, category: str | None, num_excluded: int
) -> None:
    vectors_ND, queries_BD = unit_vectors(num, dim, seed), unit_vectors(3, dim, seed + 1)
    index = catalog(vectors_ND)
    names = [entry.image_id for entry in index.entries]
    excluded = [set(names[i : i + num_excluded]) for i in range(3)]
    ids, scores = index.search(queries_BD, k, exclude=excluded, category=category)
    for b in range(3):
        expected = {
            entry.image_id: float(queries_BD[b] @ vectors_ND[row])
            for row, entry in enumerate(index.entries)
            if entry.image_id not in excluded[b] and category in (None, entry.category)
        }
        best = sorted(expected.values(), reverse=True)[:k]
        np.testing.assert_allclose(scores[b], best, atol=1e-5)
        np.testing.assert_allclose([expected[name] for name in ids[b]], best, atol=1e-5)
        assert len(set(ids[b])) == len(ids[b])


@pytest.mark.parametrize(
    ("config", "least"),
    [
        (IndexConfig(kind="hnsw"), 0.95),
        (IndexConfig(kind="ivf_sq8", ivf_lists=16, ivf_probe=8), 0.85),
        (IndexConfig(kind="ivf_pq", ivf_lists=16, ivf_probe=16, pq_segments=16), 0.6),
    ],
)
def test_approximate_kinds_find_most_of_the_exact_results(config: IndexConfig, least: float) -> None:
    vectors_ND, queries_BD = unit_vectors(2000, 32), unit_vectors(50, 32, seed=1)
    exact, _ = catalog(vectors_ND).search(queries_BD, 10)
    found, _ = catalog(vectors_ND, config).search(queries_BD, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall >= least
    dresses, _ = catalog(vectors_ND, config).search(queries_BD, 10, category="dress")
    index = catalog(vectors_ND)
    assert all(index.entries[index.row_of[name]].category == "dress" for row in dresses for name in row)


def test_settings_that_cannot_hold_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"ivf_lists 64 needs 2,496 vectors, there are 100; set it to at most 2"
    ):
        build_index(unit_vectors(100, 8), IndexConfig(kind="ivf_sq8"))
    with pytest.raises(ConfigError, match="does not divide the 24 dimensions"):
        build_index(unit_vectors(100, 24), IndexConfig(kind="ivf_pq", ivf_lists=1, pq_segments=16))


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_sq8", "ivf_pq"])
def test_an_index_read_back_searches_alike(tmp_path: Path, kind: str) -> None:
    config = IndexConfig(kind=kind, ivf_lists=4, pq_segments=8)
    vectors_ND, queries_BD = unit_vectors(400, 16), unit_vectors(4, 16, seed=1)
    made = catalog(vectors_ND, config)
    write_index(str(tmp_path), made.index, ids_table(400), made.metadata)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)  # no temporary left
    loaded = CatalogIndex.load(str(tmp_path))
    assert loaded.metadata == made.metadata
    assert loaded.search(queries_BD, 5)[0] == made.search(queries_BD, 5)[0]
    assert loaded.entry("image00003") == made.entry("image00003")
    assert loaded.entry("nobody") is None
    assert loaded.same_product("image00003") == ["image00002", "image00003"]


def test_an_index_of_another_model_is_refused() -> None:
    metadata = IndexMetadata("3", "abc", 8, 10, "flat")
    require_model(metadata, "3", "abc")
    for version, fingerprint in [("4", "abc"), ("3", "abd")]:
        with pytest.raises(ContractError, match=r"made by model version 3 \(abc\).*run the job build_index"):
            require_model(metadata, version, fingerprint)


def test_a_broken_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="run the job build_index"):
        read_metadata(str(tmp_path))
    made = catalog(unit_vectors(10, 4))
    write_index(str(tmp_path), made.index, ids_table(10), made.metadata)
    (tmp_path / "index.faiss").write_bytes((tmp_path / "index.faiss").read_bytes()[:40])
    with pytest.raises(ContractError, match="cannot be opened"):
        CatalogIndex.load(str(tmp_path))
    write_index(str(tmp_path), made.index, ids_table(10), made.metadata)
    content = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**content, "dim": 5}))
    with pytest.raises(ContractError, match="files disagree"):
        CatalogIndex.load(str(tmp_path))


def test_only_kept_pictures_without_an_embedding_are_left_to_do() -> None:
    images = pa.table(
        {
            "image_id": ["a", "b", None, "c"],
            "status": ["ok", "ok", "http_404", "ok"],
            "duplicate_of": pa.array([None, "x", None, None], pa.string()),
        }
    )
    assert kept(images).column("image_id").to_pylist() == ["a", "c"]
    assert Unembedded({"a"})(images).column("image_id").to_pylist() == ["c"]


def test_vectors_of_embeddings() -> None:
    row = {"item_id": "i", "product_id": "p", "category": "top", "model_version": "1"}
    rows = [{**row, "image_id": f"{i}", "vector": [i, 0.5]} for i in range(3)]
    table = pa.concat_tables([from_rows(rows[:2], EMBEDDINGS), from_rows(rows[2:], EMBEDDINGS)])
    np.testing.assert_array_equal(vectors(table), np.array([[0, 0.5], [1, 0.5], [2, 0.5]], np.float32))
