"""What a modification text claims of its two pictures.

    >>> for claim in claims("change the colour from navy to red and remove the belt", taxonomy.load()):
    ...     print(claim)
    reference: colour navy
    target: colour red
    reference: closure belt
    target: not closure belt

A value is claimed of the target unless the words before it say otherwise: what gives way ("from navy to",
"swap the belt for", "instead of navy") was there in the reference, what is removed was there and is gone, and
what a text is "without" is not there in the target. Only what the taxonomy knows is read: "more elegant"
claims nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from facap.annotate.taxonomy import Taxonomy, normalise

Side = Literal["reference", "target"]
_DETERMINER = r"(?: (?:a|an|any|the|its|their))?"
_REPLACED = re.compile(
    rf"\b(?:from|swap|change|replace|exchange|trade|switch|turn|instead of|rather than){_DETERMINER} $"
)
_REMOVED = re.compile(r"\b(?:remove|drop|lose|(?:take|leave) (?:off|out))\b")
_GOES_ON = re.compile(rf"^(?: and{_DETERMINER})? $")  # "white buttons", "the belt and the pockets"
# A noun that is said once for two values: "the length from knee to full" is of a knee length and a full one.
_SPREAD = (
    (
        re.compile(r"\b(\w+) from (\w+(?: \w+)?) to ((?:a |an )?\w+(?: \w+)??)(?=,| and |$|\.|;)"),
        r"from \2 \1 to \3 \1",
    ),
    (re.compile(r"\bthe (\w+) (\w+) instead of (\w+)\b"), r"the \2 \1 instead of \3 \1"),
    (re.compile(r"\b(\w+) (for|to|with|into|instead of) (\w+) ones?\b"), r"\1 \2 \3 \1"),
)


@dataclass(frozen=True)
class Claim:
    """A value that a text says one of the two pictures shows, or does not show."""

    of: Side
    attribute: str
    value: str
    holds: bool = True

    def __str__(self) -> str:
        return f"{self.of}: {'' if self.holds else 'not '}{self.attribute} {self.value}"


def claims(text: str, words: Taxonomy) -> list[Claim]:
    """The claims of `text` in its order, each once."""
    found: dict[Claim, None] = {}
    meant: tuple[tuple[Side, bool], ...] = (("target", True),)
    for mention in words.mentions(spread(text)):
        if not _GOES_ON.match(mention.before):
            meant = _meant(mention.before, mention.negated)
        for side, holds in meant:
            found.setdefault(Claim(side, mention.attribute, mention.value, holds))
    return list(found)


def denies(stated: Mapping[str, str], claim: Claim, words: Taxonomy) -> bool:
    """Whether a description that states these attributes speaks against `claim`; silence does not."""
    values = seen(claim, stated, words)
    return bool(values) and (claim.value in values.split(", ")) != claim.holds


def seen(claim: Claim, stated: Mapping[str, str], words: Taxonomy) -> str:
    """What is stated of the claim's attribute, joined with ", ".

    "navy" may be the main colour or the second one, as texts seldom say which; what is not there is looked
    for in the attribute itself only.
    """
    names = [claim.attribute]
    if claim.holds and claim.attribute in words.seconds:
        names.append(words.seconds[claim.attribute])
    return ", ".join(stated[name] for name in names if name in stated)


def spread(text: str) -> str:
    """`text` in plain form, with nouns that are said once for two values said twice.

    >>> spread("Change the length from knee to full, swap the long sleeves for short ones")
    'change the from knee length to full length, swap the long sleeves for short sleeves'
    """
    plain = normalise(text)
    for pattern, twice in _SPREAD:
        plain = pattern.sub(twice, plain)
    return plain


def _meant(before: str, negated: bool) -> tuple[tuple[Side, bool], ...]:
    """(picture, whether it shows it) for a value after the words `before`."""
    if _REPLACED.search(before):
        return (("reference", True),)
    if negated and _REMOVED.search(before):
        return ("reference", True), ("target", False)
    return (("target", not negated),)
