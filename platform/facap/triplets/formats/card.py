"""The dataset card: what an export holds, counted while it is written, and where it comes from.

>>> figures = Figures()
>>> figures.add("dress", "val", [("a", "b", ("is navy", "has no sleeves"))], num_listed=3)
>>> figures.lengths().mean, figures.frequent(1)
(2.5, [('is', 1)])

A word is a run of letters and digits, with apostrophes and hyphens inside; counted in lower case.
"""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

MARK = "<!-- a facap export -->"  # by which an earlier export is known
FREQUENT = 20  # words that the card names
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

Texts = tuple[str, str | None, Sequence[str]]  # reference, target, captions


class Lengths(NamedTuple):
    """Of texts, in words."""

    least: int
    median: float
    mean: float
    most: int


@dataclass
class Group:
    """Counts of one category and split; `num_listed`: images of its list, None if it has none."""

    num_triplets: int = 0
    num_texts: int = 0
    num_listed: int | None = None
    references: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)


class Figures:
    """Adds up what the card says."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], Group] = {}
        self.words: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()

    def add(self, category: str, split: str, rows: Iterable[Texts], num_listed: int | None = None) -> None:
        """Counts the records of a category and split."""
        group = self.groups.setdefault((category, split), Group())
        group.num_listed = num_listed
        for reference, target, captions in rows:
            group.num_triplets += 1
            group.references.add(reference)
            group.targets |= {target} if target else set()
            for text in captions:
                words = _WORD.findall(text.lower())
                group.num_texts += 1
                self.words.update(words)
                self._lengths[len(words)] += 1

    @property
    def num_triplets(self) -> int:
        """Of all groups."""
        return sum(group.num_triplets for group in self.groups.values())

    def lengths(self) -> Lengths:
        """Of all texts; zeros if there are none."""
        counted = sorted(self._lengths.elements())
        if not counted:
            return Lengths(0, 0.0, 0.0, 0)
        return Lengths(counted[0], statistics.median(counted), statistics.fmean(counted), counted[-1])

    def frequent(self, count: int) -> list[tuple[str, int]]:
        """The most frequent words, equally frequent ones in alphabetical order."""
        return sorted(self.words.items(), key=lambda item: (-item[1], item[0]))[:count]


def is_export(folder: Path) -> bool:
    """Whether a folder was written by us: its card says so."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            return MARK in card.read(100_000)
    except OSError:
        return False


def card(
    name: str, licence: str, provenance: str, how: str, figures: Figures, origin: dict[str, list[str]]
) -> str:
    """The card as Markdown. `how`: what the files are; `origin`: heading -> what is to be said of it."""
    head = {"pretty_name": name, "license": licence or "unknown", "tags": ["composed-image-retrieval"]}
    lengths = figures.lengths()
    frequent = ", ".join(f"{word} ({count:,})" for word, count in figures.frequent(FREQUENT))
    licensed = licence or "Not stated: say it (exports.licence) before the dataset is handed on."
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=True, allow_unicode=True).strip()}\n---",
            f"{MARK}\n# {name}\n",
            f"{how}\n",
            "## Counts\n",
            *_table(figures),
            "\nReferences and targets are different images; listed are the images of the split's list.\n",
            "## Texts\n",
            "| words in a text | |\n| --- | --- |",
            f"| least | {lengths.least:,} |\n| median | {lengths.median:g} |",
            f"| mean | {lengths.mean:.1f} |\n| most | {lengths.most:,} |\n",
            f"Vocabulary: {len(figures.words):,} different words. The most frequent: {frequent or 'none'}.\n",
            f"## Licence\n\n{licensed}\n",
            f"## Provenance\n\n{provenance or 'Not stated (exports.provenance).'}\n",
            "## How it was made\n",
            *(f"- **{key}**: {', '.join(values) or 'none'}" for key, values in origin.items()),
            "",
        ]
    )


def _table(figures: Figures) -> list[str]:
    lines = [
        "| category | split | triplets | texts | references | targets | listed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (category, split), group in sorted(figures.groups.items()):
        listed = "-" if group.num_listed is None else f"{group.num_listed:,}"
        counts = (group.num_triplets, group.num_texts, len(group.references), len(group.targets))
        lines.append(f"| {category} | {split} | {' | '.join(f'{n:,}' for n in counts)} | {listed} |")
    num_texts = sum(group.num_texts for group in figures.groups.values())
    return [*lines, f"| all | | {figures.num_triplets:,} | {num_texts:,} | | | |"]
