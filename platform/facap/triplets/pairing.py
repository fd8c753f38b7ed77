"""Reference and target: two similar garments of one category that differ in a few attributes.

In: images with embeddings and attributes. Out: at most one pair a reference, and the images that
found no partner. Per category and split, FAISS finds every image's exact nearest neighbours; of
those of another product, inside the similarity band and differing in the right number of
attributes, one is taken while its uses last: any, by a hash of both ids, or the nearest. References
with the fewest choices choose first, so that the cap on a target's uses costs few their only partner.

    >>> shirts = [Member("a", "p1", "top", "train", {"colour": "red"}),
    ...           Member("b", "p2", "top", "train", {"colour": "blue"})]
    >>> pairs = mine_pairs(shirts, np.array([[1.0, 0.0], [0.8, 0.6]], np.float32), PairsConfig())
    >>> [(p.reference_id, p.target_id, round(p.similarity, 3)) for p in pairs]
    [('a', 'b', 0.8), ('b', 'a', 0.8)]

Nothing is random: equal similarities are ordered by image_id. Shapes: N images, D dimensions,
P neighbours, K attribute names.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from facap.triplets.config import PairsConfig


@dataclass(frozen=True)
class Member:
    """One kept, captioned image."""

    image_id: str
    product_id: str
    category: str
    split: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Pair:
    """A row of PAIRS."""

    reference_id: str
    target_id: str
    category: str
    similarity: float
    split: str


def mine_pairs(members: Sequence[Member], vectors_ND: np.ndarray, config: PairsConfig) -> list[Pair]:
    """The pairs of all categories and splits, sorted by reference_id.

    `vectors_ND`: float32, unit rows in the order of `members`; image_ids are unique.
    """
    assert len(members) == len(vectors_ND), (len(members), vectors_ND.shape)
    groups: dict[tuple[str, str], list[int]] = {}
    for row in sorted(range(len(members)), key=lambda row: members[row].image_id):
        groups.setdefault((members[row].category, members[row].split), []).append(row)
    pairs = []
    for rows in groups.values():
        pairs += _mine_group([members[row] for row in rows], vectors_ND[rows], config)
    return sorted(pairs, key=lambda pair: pair.reference_id)


def _mine_group(members: list[Member], vectors_ND: np.ndarray, config: PairsConfig) -> list[Pair]:
    """Pairs within one category and split; `members` are sorted by image_id, so rows order ties."""
    similarity_NP, neighbour_NP = nearest(vectors_ND, config.pool)
    codes_NK = attribute_codes([member.attributes for member in members])
    product_N = np.unique([member.product_id for member in members], return_inverse=True)[1]
    choices = []
    for row in range(len(members)):
        found = _acceptable(row, similarity_NP[row], neighbour_NP[row], codes_NK, product_N, config)
        if config.choose == "spread":
            found.sort(key=lambda choice: _draw(members[row].image_id, members[choice[0]].image_id))
        choices.append(found)
    uses: Counter[int] = Counter()
    pairs = []
    for row in sorted(range(len(members)), key=lambda row: (len(choices[row]), row)):
        for target, similarity in choices[row]:
            if uses[target] < config.max_target_uses:
                uses[target] += 1
                reference = members[row]
                pairs.append(
                    Pair(
                        reference.image_id,
                        members[target].image_id,
                        reference.category,
                        similarity,
                        reference.split,
                    )
                )
                break
    return pairs


def _draw(reference_id: str, target_id: str) -> bytes:
    """Orders targets as good as at random, and the same in every run."""
    return hashlib.sha256(f"{reference_id}>{target_id}".encode()).digest()


def nearest(vectors_ND: np.ndarray, pool: int) -> tuple[np.ndarray, np.ndarray]:
    """Inner products and rows of the `pool` nearest others of every row (N x P each), exact."""
    vectors_ND = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    index = faiss.IndexFlatIP(vectors_ND.shape[1])
    index.add(vectors_ND)
    return index.search(vectors_ND, min(pool + 1, len(vectors_ND)))  # + 1: the row itself is among them


def attribute_codes(attributes: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Attributes as numbers, N x K: equal numbers for equal values, 0 where nothing is said."""
    names = sorted({name for one in attributes for name in one})
    codes_NK = np.zeros((len(attributes), len(names)), dtype=np.int32)
    for k, name in enumerate(names):
        known: dict[str | None, int] = {None: 0}
        for row, one in enumerate(attributes):
            codes_NK[row, k] = known.setdefault(one.get(name), len(known))
    return codes_NK


def _acceptable(
    row: int,
    similarity_P: np.ndarray,
    neighbour_P: np.ndarray,
    codes_NK: np.ndarray,
    product_N: np.ndarray,
    config: PairsConfig,
) -> list[tuple[int, float]]:
    """The neighbours that may be the target of `row`, nearest first: (row, similarity)."""
    changes_P = (codes_NK[neighbour_P] != codes_NK[row]).sum(axis=1)
    fits_P = (
        (product_N[neighbour_P] != product_N[row])
        & (similarity_P >= config.min_similarity)
        & (similarity_P <= config.max_similarity)
        & (changes_P >= config.min_changes)
        & (changes_P <= config.max_changes)
    )
    order = np.lexsort((neighbour_P[fits_P], -similarity_P[fits_P]))
    found = zip(neighbour_P[fits_P][order], similarity_P[fits_P][order], strict=True)
    return [(int(target), float(np.clip(similarity, -1, 1))) for target, similarity in found]
