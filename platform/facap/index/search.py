"""A built index, opened and searched.

>>> catalog = CatalogIndex.load(store.folder("index"))                       # doctest: +SKIP
>>> ids, scores = catalog.search(encoder.queries([picture], ["in red"]), k=3)  # doctest: +SKIP
[['a3..', '07..', 'c1..']], [array([0.91, 0.88, 0.83], dtype=float32)]
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from facap.errors import ContractError
from facap.index.build import VECTORS_FILE, IndexMetadata, read_ids, read_metadata


@dataclass(frozen=True)
class Entry:
    """What one vector of the index shows."""

    image_id: str
    item_id: str
    product_id: str
    category: str


class CatalogIndex:
    """A FAISS index with the names of its rows."""

    def __init__(self, index: faiss.Index, ids: pa.Table, metadata: IndexMetadata) -> None:
        if not index.ntotal == ids.num_rows == metadata.count or index.d != metadata.dim:
            raise ContractError(
                f"index: its files disagree: {index.ntotal} vectors of {index.d}, {ids.num_rows} ids, "
                f"metadata says {metadata.count} of {metadata.dim}; run the job build_index again"
            )
        self.index, self.metadata = index, metadata
        self.entries = [Entry(**row) for row in ids.to_pylist()]
        self.row_of = {entry.image_id: row for row, entry in enumerate(self.entries)}
        self._products: dict[str, list[str]] = {}
        for entry in self.entries:
            self._products.setdefault(entry.product_id, []).append(entry.image_id)
        categories = np.array([entry.category for entry in self.entries])
        self._masks = {str(name): categories == name for name in np.unique(categories)}
        self._selectors = {name: _selector(mask) for name, mask in self._masks.items()}

    @classmethod
    def load(cls, folder: str) -> "CatalogIndex":
        """The index in `folder` (a path or URI); ContractError if it is incomplete."""
        metadata = read_metadata(folder)
        ids = read_ids(folder)
        try:
            fs, base = FileSystem.from_uri(folder)
            with fs.open_input_stream(f"{base}/{VECTORS_FILE}") as source:
                index = faiss.read_index(faiss.PyCallbackIOReader(source.read))
        except (OSError, RuntimeError) as error:
            raise ContractError(
                f"index: {folder} cannot be opened ({error}); run the job build_index again"
            ) from error
        return cls(index, ids, metadata)

    @property
    def categories(self) -> list[str]:
        """The categories that occur, sorted."""
        return sorted(self._masks)

    def entry(self, image_id: str) -> Entry | None:
        """What the index knows of a picture, or None."""
        row = self.row_of.get(image_id)
        return None if row is None else self.entries[row]

    def same_product(self, image_id: str) -> list[str]:
        """The pictures of the product that `image_id` shows, itself included."""
        entry = self.entry(image_id)
        return [] if entry is None else self._products[entry.product_id]

    def search(
        self,
        vectors_BD: np.ndarray,
        k: int,
        exclude: Sequence[Collection[str]] | None = None,
        category: str | None = None,
    ) -> tuple[list[list[str]], list[np.ndarray]]:
        """The k best image_ids of each query with their scores, best first.

        `exclude`: for each query, image_ids that must not come out. A query gets fewer than k
        results when no more are left, or when an approximate kind found no more.
        """
        if category is not None and category not in self._masks:
            return [[] for _ in vectors_BD], [np.empty(0, np.float32) for _ in vectors_BD]
        excluded = [set(names) for names in exclude] if exclude is not None else [set()] * len(vectors_BD)
        assert len(excluded) == len(vectors_BD), (len(excluded), len(vectors_BD))
        eligible = int(self._masks[category].sum()) if category is not None else self.index.ntotal
        fetch = min(eligible, k + max((len(names) for names in excluded), default=0))
        selector = self._selectors[category] if category is not None else None
        queries_BD = np.ascontiguousarray(vectors_BD, dtype=np.float32)
        scores_BK, rows_BK = self.index.search(queries_BD, fetch, params=self._params(selector))
        ids: list[list[str]] = []
        scores: list[np.ndarray] = []
        for row_scores, rows, unwanted in zip(scores_BK, rows_BK, excluded, strict=True):
            found = [
                (self.entries[row].image_id, score)
                for row, score in zip(rows, row_scores, strict=True)
                if row >= 0 and self.entries[row].image_id not in unwanted  # FAISS pads with -1
            ][:k]
            ids.append([name for name, _ in found])
            scores.append(np.array([score for _, score in found], dtype=np.float32))
        return ids, scores

    def _params(self, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
        settings = self.metadata.settings
        if self.metadata.kind == "flat":
            return faiss.SearchParameters(sel=selector)
        if self.metadata.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=int(settings["hnsw_search"]), sel=selector)
        return faiss.SearchParametersIVF(nprobe=int(settings["ivf_probe"]), sel=selector)


def _selector(mask: np.ndarray) -> faiss.IDSelector:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
