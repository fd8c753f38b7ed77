"""Answers in words -> attributes and values, by the taxonomy.

>>> read({"colour": "navy and white", "length": "knee", "closure": "none"}, taxonomy.load())
{'colour': 'navy', 'second_colour': 'white', 'length': 'knee'}
"""

import re
from collections.abc import Iterable, Mapping

from facap.annotate import taxonomy
from facap.annotate.taxonomy import Taxonomy

DESCRIPTION = "description"  # in the place of an attribute: the answer speaks of everything


def asked_as(attribute: str, words: Taxonomy) -> str:
    """The attribute that a question is about: second colours are asked for together with the main one.

    >>> asked_as("second_colour", taxonomy.load())
    'colour'
    """
    return {second: first for first, second in words.seconds.items()}.get(attribute, attribute)


def read(said: Mapping[str, str], words: Taxonomy) -> dict[str, str]:
    """Attribute -> value, as the answers about one picture (attribute asked for -> text) state them."""
    found: dict[str, str] = {}
    for asked, text in said.items():
        stated = words.attributes(text)
        if asked == DESCRIPTION:
            found |= stated
            continue
        names = [asked, *filter(None, [words.seconds.get(asked)])]
        found |= {name: stated[name] for name in names if name in stated}
        if asked not in found and all(mention.attribute != asked for mention in words.mentions(text)):
            value = _named(text, words.values(asked))
            found |= {asked: value} if value else {}
    return found


def _named(text: str, values: Iterable[str]) -> str | None:
    """The value that an answer names alone: "knee" says nothing of a length unless a length was asked for."""
    plain = taxonomy.normalise(text)
    places = [
        (match.start(), value)
        for value in values
        if (match := re.search(rf"(?<!\w){re.escape(taxonomy.normalise(value))}(?!\w)", plain))
    ]
    return min(places)[1] if places else None
