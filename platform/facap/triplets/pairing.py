"""Reference and target: two similar garments of one category that differ in a few attributes.

In: images with embeddings and attributes. Out: at most one pair a reference, and the images that
found no partner. Per category and split, FAISS finds every image's exact nearest neighbours; of
those of another product, inside the similarity band and differing in the right number of
attributes, one is taken while its uses last: any, by a hash of both ids, or the nearest. References
with the fewest choices choose first, so that the cap on a target's uses costs few their only partner.
`mine_groups` gives the same with all that was looked at, for the survey.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from facap.triplets.config import PairsConfig

ROWS_AT_ONCE = 512  # bounds the rows x P x K comparisons of attributes held in memory


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


@dataclass(frozen=True)
class Neighbours:
    """The nearest of N images around each of them, N x P each."""

    row_NP: np.ndarray  # the neighbour; its own row is among them
    similarity_NP: np.ndarray  # cosine, -1 to 1
    other_NP: np.ndarray  # whether it shows another product
    changes_NP: np.ndarray  # attributes that differ

    def in_band(self, config: PairsConfig) -> np.ndarray:
        """Those of another product that are neither too like nor too unlike (bool, N x P)."""
        near_NP = self.similarity_NP
        return self.other_NP & (near_NP >= config.min_similarity) & (near_NP <= config.max_similarity)

    def in_range(self, config: PairsConfig) -> np.ndarray:
        """Those of another product of which the right number of attributes differs (bool, N x P)."""
        changes_NP = self.changes_NP
        return self.other_NP & (changes_NP >= config.min_changes) & (changes_NP <= config.max_changes)


@dataclass(frozen=True)
class Group:
    """One category and split, mined; `members` are sorted by image_id, rows are theirs."""

    members: list[Member]
    near: Neighbours
    choices: list[list[tuple[int, float]]]  # of each row: the acceptable targets in order of preference
    pairs: list[Pair]


def mine_pairs(members: Sequence[Member], vectors_ND: np.ndarray, config: PairsConfig) -> list[Pair]:
    """The pairs of all categories and splits, sorted by reference_id.

    `vectors_ND`: float32, unit rows in the order of `members`; image_ids are unique.
    """
    return in_order(pair for group in mine_groups(members, vectors_ND, config) for pair in group.pairs)


def in_order(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs of several groups in the order in which they are written."""
    return sorted(pairs, key=lambda pair: pair.reference_id)


def mine_groups(members: Sequence[Member], vectors_ND: np.ndarray, config: PairsConfig) -> Iterator[Group]:
    """Every category and split in turn, with all that was looked at; arguments as `mine_pairs`."""
    assert len(members) == len(vectors_ND), (len(members), vectors_ND.shape)
    groups: dict[tuple[str, str], list[int]] = {}
    for row in sorted(range(len(members)), key=lambda row: members[row].image_id):
        groups.setdefault((members[row].category, members[row].split), []).append(row)
    for rows in groups.values():
        yield _mine_group([members[row] for row in rows], vectors_ND[rows], config)


def _mine_group(members: list[Member], vectors_ND: np.ndarray, config: PairsConfig) -> Group:
    """Pairs within one category and split; `members` are sorted by image_id, so rows order ties."""
    near = look_around(members, vectors_ND, config.pool)
    fits_NP = near.in_band(config) & near.in_range(config)
    choices = []
    for row, member in enumerate(members):
        target_P, similarity_P = near.row_NP[row, fits_NP[row]], near.similarity_NP[row, fits_NP[row]]
        order = np.lexsort((target_P, -similarity_P))  # nearest first
        found = list(zip(target_P[order].tolist(), similarity_P[order].tolist(), strict=True))
        if config.choose == "spread":
            found.sort(key=lambda choice: _draw(member.image_id, members[choice[0]].image_id))
        choices.append(found)
    pairs = []
    for row, (target, similarity) in assign(choices, config.max_target_uses).items():
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
    return Group(members, near, choices, pairs)


def assign(
    choices: Sequence[Sequence[tuple[int, float]]], max_target_uses: float
) -> dict[int, tuple[int, float]]:
    """Row -> its target: the first of its choices that has uses left. Fewest choices choose first."""
    uses: Counter[int] = Counter()
    taken: dict[int, tuple[int, float]] = {}
    for row in sorted(range(len(choices)), key=lambda row: (len(choices[row]), row)):
        for choice in choices[row]:
            if uses[choice[0]] < max_target_uses:
                uses[choice[0]] += 1
                taken[row] = choice
                break
    return taken


def _draw(reference_id: str, target_id: str) -> bytes:
    """Orders targets as good as at random, and the same in every run."""
    return hashlib.sha256(f"{reference_id}>{target_id}".encode()).digest()


def look_around(members: Sequence[Member], vectors_ND: np.ndarray, pool: int) -> Neighbours:
    """The `pool` nearest others of every member, and how each of them compares."""
    similarity_NP, row_NP = nearest(vectors_ND, pool)
    codes_NK = attribute_codes([member.attributes for member in members])
    product_N = np.unique([member.product_id for member in members], return_inverse=True)[1]
    changes_NP = np.empty(row_NP.shape, np.int16)
    for start in range(0, len(row_NP), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        changes_NP[some] = (codes_NK[row_NP[some]] != codes_NK[some, None]).sum(axis=2)
    found_NP = row_NP >= 0  # FAISS says -1 where a vector is not a number
    other_NP = found_NP & (product_N[row_NP] != product_N[:, None])
    return Neighbours(row_NP, np.clip(similarity_NP, -1, 1), other_NP, changes_NP)


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
