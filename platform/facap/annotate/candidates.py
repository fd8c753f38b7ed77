"""Several texts for one pair: the pair is asked as often as there are candidates, the best answer is its row.

    >>> [copy["seed"] for copy in Copies(3)({"reference_id": "a", "target_id": "b"})]
    [0, 1, 2]

Copies of a pair are made inside a block, just before the engine, and follow one another. Blocks and the
engine's batches hold whole pairs (their sizes are multiples of the number of candidates), and Ray Data keeps
the rows of a batch together and in order: so whoever gets a block sees all candidates of each of its pairs.
"""

from typing import Any

from facap.schemas import OK

SEED = "seed"  # the column that tells copies apart


class Copies:
    """A row -> `number` rows that differ in their seed; for `flat_map`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        return [row | {SEED: seed} for seed in range(self.number)]


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """TRIPLETS rows of candidates -> the best of each pair, with the tokens of all of them.

    Good ones before failed ones, then by quality, then the shorter text, then the one that was asked first.
    """
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((row["reference_id"], row["target_id"]), []).append(row)
    return [min(of_pair, key=_rank) | _tokens(of_pair) for of_pair in pairs.values()]


def _rank(row: dict[str, Any]) -> tuple[bool, float, int]:
    return row["status"] != OK, -(row.get("quality") or 0.0), len((row.get("modification") or "").split())


def _tokens(rows: list[dict[str, Any]]) -> dict[str, int | None]:
    sums: dict[str, int | None] = {}
    for name in ("prompt_tokens", "written_tokens"):
        counts = [row[name] for row in rows if row[name] is not None]
        sums[name] = sum(counts) if counts else None
    return sums
