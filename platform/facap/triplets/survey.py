"""What the settings of pairing keep: the groups that were mined -> figures that JSON can say.

    >>> survey = Survey(config)                                                    # doctest: +SKIP
    >>> for group in mine_groups(members, vectors_ND, config):
    ...     survey.add(group)
    >>> figures = survey.figures()
    >>> figures["groups"]["all"]["funnel"]
    {'images': 3998, 'captioned': 3998, 'certain': 3671, 'vector': 3671, ..., 'paired': 3340}

Figures are of "all" and of each category: the funnel (images that get so far, each step those of the step
before), neighbours by similarity and by attributes that differ, how often targets are used, and what other
settings would keep: images with a choice for another edge of the band or another number of changes, and
pairs for another cap. It adds up what mining has looked at anyway; the pairs do not change.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facap.triplets.config import PairsConfig
from facap.triplets.pairing import Group, assign

ALL = "all"
STEPS = ("images", "captioned", "certain", "vector", "neighbour", "band", "range", "paired")
FINE = 2000  # bins of similarity from -1 to 1 while counting
WIDTHS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)  # of a bar, whichever gives at most MOST_BARS
MOST_BARS = 60
NEAR = 0.25  # of the neighbours' range: an edge of the band this near beside it is on the axis too
TAIL = 0.001  # share of the neighbours that may lie left of the first bar; the first bar holds them
CAPS = (1, 2, 3, 5, 10)  # other caps that are tried; and none
BARS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)  # least confidences that are tried
MOST_OUTSIDE = 12  # neighbours beyond each edge of the band that are kept to be shown, per group
OUTSIDE, IN_BAND, FITS = range(3)  # of a neighbour: beyond the band; in it, wrong changes; acceptable


@dataclass
class _Counts:
    """One category's sums."""

    steps: Counter[str] = field(default_factory=Counter)
    neighbours: Counter[str] = field(default_factory=Counter)
    similarity_3F: np.ndarray = field(default_factory=lambda: np.zeros((3, FINE), np.int64))
    pairs_F: np.ndarray = field(default_factory=lambda: np.zeros(FINE, np.int64))
    changes: Counter[int] = field(default_factory=Counter)  # of neighbours in the band
    uses: Counter[int] = field(default_factory=Counter)  # times used -> images
    caps: Counter[str] = field(default_factory=Counter)  # cap -> pairs
    sure: Counter[float] = field(default_factory=Counter)  # least confidence -> captions that have it
    reach: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def plus(self, other: "_Counts") -> None:
        for name in ("steps", "neighbours", "changes", "uses", "caps", "sure"):
            getattr(self, name).update(getattr(other, name))
        self.similarity_3F += other.similarity_3F
        self.pairs_F += other.pairs_F
        for name, values in other.reach.items():
            self.reach.setdefault(name, []).extend(values)


class Survey:
    """Sums of the groups that were added, by category."""

    def __init__(self, config: PairsConfig) -> None:
        self.least = config.min_confidence or 0.0
        self.config = config.model_copy(update={"min_confidence": self.least})
        self.bars = sorted({*BARS, self.least})
        self.by_category: dict[str, _Counts] = {}
        self.outside: dict[str, list[dict[str, Any]]] = {"below": [], "above": []}

    def lost(self, category: str, step: str, images: int = 1) -> None:
        """Images that got as far as `step` ("captioned": no certain one) and no further."""
        counts = self._of(category)
        for reached in STEPS[: STEPS.index(step) + 1]:
            counts.steps[reached] += images

    def stated(self, category: str, confidence: float | None) -> None:
        """A caption and how sure the model was of it; without that figure every bar lets it pass."""
        sure = 1.0 if confidence is None else confidence
        self._of(category).sure.update(bar for bar in self.bars if sure >= bar)

    def add(self, group: Group) -> None:
        """One mined group."""
        config, near = self.config, group.near
        band_NP, range_NP = near.in_band(config), near.in_range(config)
        counts = _Counts()
        reached = {
            "images": len(group.members),
            "captioned": len(group.members),
            "certain": len(group.members),
            "vector": len(group.members),
            "neighbour": int(near.other_NP.any(axis=1).sum()),
            "band": int(band_NP.any(axis=1).sum()),
            "range": sum(1 for choices in group.choices if choices),
            "paired": len(group.pairs),
        }
        counts.steps.update(reached)
        counts.neighbours.update(
            {
                "neighbour": int(near.other_NP.sum()),
                "band": int(band_NP.sum()),
                "range": sum(len(choices) for choices in group.choices),
            }
        )
        kind_NP = band_NP.astype(np.int64) + (band_NP & range_NP)
        bins = kind_NP[near.other_NP] * FINE + _bin(near.similarity_NP[near.other_NP])
        counts.similarity_3F += np.bincount(bins, minlength=3 * FINE).reshape(3, FINE)
        similarities = np.array([pair.similarity for pair in group.pairs], np.float32)
        counts.pairs_F += np.bincount(_bin(similarities), minlength=FINE)
        counts.changes.update(dict(enumerate(np.bincount(near.changes_NP[band_NP]).tolist())))
        used = Counter(pair.target_id for pair in group.pairs)
        counts.uses.update(Counter(used.values()))
        counts.uses[0] += len(group.members) - len(used)
        for cap in CAPS:
            counts.caps[str(cap)] += len(assign(group.choices, cap))
        counts.caps["none"] += reached["range"]
        counts.reach = {name: [values] for name, values in _reach(group, config).items()}
        self._of(group.members[0].category).plus(counts)
        self._note_outside(group, range_NP)

    def figures(self) -> dict[str, Any]:
        """All sums; categories in alphabetical order after "all"."""
        total = _Counts()
        for counts in self.by_category.values():
            total.plus(counts)
        edges, places = _bars(total.similarity_3F.sum(axis=0), self.config)
        named = {ALL: total} | dict(sorted(self.by_category.items()))
        figures: dict[str, Any] = {
            "settings": self.config.model_dump(mode="json"),
            "edges": edges,
            "outside": {side: _alternate(found) for side, found in self.outside.items()},
        }
        return figures | {
            "groups": {name: _figures(counts, edges, places, self) for name, counts in named.items()}
        }

    def _of(self, category: str) -> _Counts:
        return self.by_category.setdefault(category, _Counts())

    def _note_outside(self, group: Group, range_NP: np.ndarray) -> None:
        """The neighbours that only the band rules out, those nearest to its edges; one a reference."""
        near, config = group.near, self.config
        for side, out_NP in (
            ("below", range_NP & (near.similarity_NP < config.min_similarity)),
            ("above", range_NP & (near.similarity_NP > config.max_similarity)),
        ):
            sign = 1 if side == "above" else -1
            far_NP = np.where(out_NP, sign * near.similarity_NP, np.inf)  # the least is nearest to the edge
            best_N = far_NP.argmin(axis=1)
            far_N = far_NP.min(axis=1)
            for row in np.argsort(far_N, kind="stable")[:MOST_OUTSIDE]:
                if not np.isfinite(far_N[row]):
                    break
                target = int(near.row_NP[row, best_N[row]])
                self.outside[side].append(
                    {
                        "reference_id": group.members[row].image_id,
                        "target_id": group.members[target].image_id,
                        "category": group.members[row].category,
                        "similarity": round(float(near.similarity_NP[row, best_N[row]]), 4),
                    }
                )


def _reach(group: Group, config: PairsConfig) -> dict[str, np.ndarray]:
    """Of each image, how far a setting could move alone and leave it a choice; not a number: nowhere.

    `least`: the greatest least cosine; `greatest`: the smallest greatest one; `changes`: the fewest most
    changes.
    """
    near, nan = group.near, np.nan
    changing_NP = near.in_range(config)
    low_NP = changing_NP & (near.similarity_NP <= config.max_similarity)
    high_NP = changing_NP & (near.similarity_NP >= config.min_similarity)
    few_NP = near.in_band(config) & (near.changes_NP >= config.min_changes)
    least_N = np.where(low_NP, near.similarity_NP, -np.inf).max(axis=1)
    greatest_N = np.where(high_NP, near.similarity_NP, np.inf).min(axis=1)
    changes_N = np.where(few_NP, near.changes_NP, np.inf).min(axis=1)
    found = {"least": least_N, "greatest": greatest_N, "changes": changes_N}
    return {name: np.where(np.isfinite(values), values, nan) for name, values in found.items()}


def _bin(similarity: np.ndarray) -> np.ndarray:
    """The fine bin of each cosine, -1 to 1."""
    return np.clip(((similarity.astype(np.float64) + 1) * FINE / 2).astype(np.int64), 0, FINE - 1)


def _bars(counts_F: np.ndarray, config: PairsConfig) -> tuple[list[float], np.ndarray]:
    """The edges of the bars over the range where neighbours are, and the bar of each fine bin."""
    seen = np.flatnonzero(counts_F)
    if not len(seen):
        return [-1.0, 1.0], np.zeros(FINE, np.int64)
    first = int(np.searchsorted(np.cumsum(counts_F), TAIL * counts_F.sum()))
    low, high = -1 + 2 * first / FINE, -1 + 2 * (int(seen[-1]) + 1) / FINE
    near = NEAR * (high - low)
    low, high = (
        min(low, config.min_similarity) if low - config.min_similarity < near else low,
        max(high, config.max_similarity) if config.max_similarity - high < near else high,
    )
    width = next((width for width in WIDTHS if (high - low) / width <= MOST_BARS - 2), WIDTHS[-1])
    start, stop = int(np.floor(low / width + 1e-6)), int(np.ceil(high / width - 1e-6))
    edges = [round(step * width, 4) for step in range(start, stop + 1)]
    middles_F = -1 + (2 * np.arange(FINE) + 1) / FINE
    places_F = np.floor(middles_F / width + 1e-6).astype(np.int64) - start
    return edges, np.clip(places_F, 0, stop - start - 1)


def _figures(counts: _Counts, edges: list[float], places_F: np.ndarray, survey: Survey) -> dict[str, Any]:
    bars = len(edges) - 1

    def merged(fine_F: np.ndarray) -> list[int]:
        return np.bincount(places_F, weights=fine_F, minlength=bars).astype(np.int64).tolist()

    reach = {name: np.concatenate(values) for name, values in counts.reach.items() if values}
    least, greatest, changes = (reach.get(name, np.zeros(0)) for name in ("least", "greatest", "changes"))
    edge_E = np.array(edges)
    most = max([*counts.changes, survey.config.max_changes])
    return {
        "funnel": {step: counts.steps[step] for step in STEPS},
        "neighbours": {step: counts.neighbours[step] for step in ("neighbour", "band", "range")},
        "similarity": {
            "outside": merged(counts.similarity_3F[OUTSIDE]),
            "band": merged(counts.similarity_3F[IN_BAND]),
            "fits": merged(counts.similarity_3F[FITS]),
            "pairs": merged(counts.pairs_F),
        },
        "changes": [counts.changes[number] for number in range(most + 1)],
        "uses": [counts.uses[times] for times in range(max([0, *counts.uses]) + 1)],
        "if_least": (least[:, None] >= edge_E).sum(axis=0).tolist(),
        "if_greatest": (greatest[:, None] <= edge_E).sum(axis=0).tolist(),
        "if_changes": [int((changes <= number).sum()) for number in range(most + 1)],
        "if_sure": {f"{bar:g}": counts.sure[bar] for bar in survey.bars},
        "if_cap": {cap: counts.caps[cap] for cap in (*map(str, CAPS), "none")},
    }


def _alternate(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Examples of all groups, one of each category in turn, as many as one group may give."""
    by_category: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        by_category.setdefault(one["category"], []).append(one)
    turns = [(turn, category, one) for category, some in by_category.items() for turn, one in enumerate(some)]
    return [one for _, _, one in sorted(turns, key=lambda turn: turn[:2])][:MOST_OUTSIDE]
