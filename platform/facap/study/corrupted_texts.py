"""Modification texts made wrong on purpose, for what should find them.

    >>> texts, kinds = corrupt(pairs, share=0.2, seed=0)                          # doctest: +SKIP

Two kinds, in turn: a *value* of the text gives way to another of the same attribute that neither garment has
("make it red" becomes "make it green"), or the whole text is a *foreign* one, of another pair of the same
category, and claims at least one thing that is false here. What is false is decided by the garments as the
renderer knows them, never by captions.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from facap.catalog import wording
from facap.catalog.garments import NONE, Garment, values

KINDS = ("value", "foreign")
_SAID = ("colour", "pattern", "material", "sleeve", "neckline", "fit", "length", "closure", "detail")


@dataclass(frozen=True)
class Pair:
    """The two garments of a triplet, as they really are, and its text."""

    reference: Garment
    target: Garment
    text: str


def corrupt(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[str], list[str | None]]:
    """The texts of all pairs, `share` of them made wrong, and of each how; None: it is as it was.

    A text that cannot be made wrong (it says nothing that has another value) is passed over for another.
    """
    rng = random.Random(seed)
    by_category: dict[str, list[str]] = {}
    for pair in pairs:
        by_category.setdefault(pair.target.category, []).append(pair.text)
    texts = [pair.text for pair in pairs]
    kinds: list[str | None] = [None] * len(pairs)
    wanted, done = round(share * len(pairs)), 0
    for place in rng.sample(range(len(pairs)), len(pairs)):
        if done == wanted:
            break
        pair, kind = pairs[place], KINDS[done % len(KINDS)]
        if kind == "value":
            made = other_value(pair, rng)
        else:
            made = foreign(pair, by_category[pair.target.category], rng)
        if made is not None:
            texts[place], kinds[place] = made, kind
            done += 1
    return texts, kinds


def other_value(pair: Pair, rng: random.Random) -> str | None:
    """The text with one of its values replaced by one that neither garment has; None if it names none."""
    found = [
        (match, attribute)
        for attribute, pattern in _PATTERNS.items()
        for match in pattern.finditer(pair.text)
    ]
    rng.shuffle(found)
    for match, attribute in found:
        theirs = {getattr(garment, attribute) for garment in (pair.reference, pair.target)}
        if attribute == "colour":  # the words do not say which of the colours is meant
            theirs |= {pair.reference.second_colour, pair.target.second_colour}
        others = [
            value
            for value in values(pair.target.category, attribute)
            if value in _WORDS[attribute] and value not in theirs and _WORDS[attribute][value] != match[2]
        ]
        if others:
            words = _WORDS[attribute][rng.choice(others)]
            article = "a " if match[1] else ""
            return pair.text[: match.start()] + article + words + pair.text[match.end() :]
    return None


def foreign(pair: Pair, texts: Sequence[str], rng: random.Random) -> str | None:
    """One of `texts` that is false of this pair; None if a few draws find none."""
    for text in rng.sample(texts, min(len(texts), 20)):
        if is_false(text, pair.reference, pair.target):
            return text
    return None


def is_false(text: str, reference: Garment, target: Garment) -> bool:
    """Whether the text claims something of the two that is not so."""
    new, old = target.attributes(), reference.attributes()
    return any(new[name] != value for name, value in wording.modification_claims(text).items()) or any(
        old[name] != value for name, value in wording.replaced(text).items()
    )


def _words(attribute: str) -> dict[str, str]:
    """value -> the words that tell it from the others, without article and noun: "knee", "v-neck"."""
    said = wording.WORDS[attribute].items()
    return {
        value: words.removeprefix("a ").removesuffix(" shape").removesuffix(" length")
        for value, words in said
        if value not in (NONE, "sleeveless")
    }


_WORDS = {attribute: _words(attribute) for attribute in _SAID}
_PATTERNS = {
    attribute: re.compile(rf"(?<![\w-])(an? )?({'|'.join(map(re.escape, words.values()))})(?![\w-])")
    for attribute, words in _WORDS.items()
}
