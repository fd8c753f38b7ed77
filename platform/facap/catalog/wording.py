"""Attributes to words and words back to attributes, for the demo catalogue.

Two kinds of text. A caption describes one garment; a modification says how to get from a
reference to a target. Both can be read back: what a text claims is compared with what is true.

    caption:       "a navy and white striped cotton dress with long sleeves, a v-neck, a flared
                    fit and a knee length, fastened with buttons and finished with a bow"
    modification:  "change the colour from navy to red, swap the long sleeves for short sleeves and
                    remove the belt"
    claims of it:  {"colour": "red", "sleeve": "short", "closure": "none"}
    replaced:      {"colour": "navy", "sleeve": "long", "closure": "belt"}

Writing fills templates; reading looks for the phrases of `_PHRASES`, the longest first, so that
"white accents" is a second colour and never a colour. Silence about a closure or a detail in a
caption means there is none, and `caption_claims` leaves it out.
"""

import re
from collections.abc import Mapping
from itertools import permutations

from facap.catalog.garments import ATTRIBUTES, COLOURS, NONE, Garment, changes

Claims = dict[str, str]

# The noun phrase of each value, as captions and modification texts use it.
WORDS: dict[str, dict[str, str]] = {
    "category": {
        "dress": "dress", "jacket": "jacket", "outfit": "outfit",
        "pants": "pants", "skirt": "skirt", "top": "top",
    },
    "colour": {colour: colour for colour in COLOURS},
    "second_colour": {colour: colour for colour in COLOURS},
    "pattern": {value: value for value in ATTRIBUTES["pattern"]} | {"solid": "plain"},
    "material": {value: value for value in ATTRIBUTES["material"]},
    "bottom": {"skirt": "skirt", "pants": "pants"},
    "sleeve": {
        "sleeveless": "no sleeves", "short": "short sleeves",
        "long": "long sleeves", "puff": "puff sleeves",
    },
    "neckline": {
        "round": "a round neck", "v-neck": "a v-neck", "square": "a square neck",
        "high": "a high neck", "collared": "a shirt collar", "lapel": "notched lapels",
        "hooded": "a hood", "stand": "a stand collar",
    },
    "fit": {
        "fitted": "a fitted shape", "straight": "a straight shape",
        "flared": "a flared shape", "loose": "a loose shape",
    },
    "length": {value: f"a {value} length" for value in ATTRIBUTES["length"]}
    | {"long": "a coat length"},
    "closure": {"buttons": "buttons", "zip": "a zip", "belt": "a belt"},
    "detail": {
        "pockets": "patch pockets", "ruffle": "a ruffle hem",
        "bow": "a bow", "fringe": "a fringe hem",
    },
}  # fmt: skip

# How a modification text states a change, one clause an attribute: what is there gives way to
# something else ({old}, {new}), something is added, or it is removed. The first of each is the style
# "change", the second "instead".
_SWAPS: dict[str, tuple[str, ...]] = {
    "category": ("turn the {old} into {new}", "change the {old} to {new}"),
    "colour": ("change the colour from {old} to {new}", "make it {new} instead of {old}"),
    "second_colour": ("change the accents from {old} to {new}", "use {new} accents instead of {old}"),
    "pattern": ("change the design from {old} to {new}", "make it {new} instead of {old}"),
    "material": ("change the fabric from {old} to {new}", "use {new} fabric instead of {old}"),
    "bottom": ("swap the {old} below for {new}", "pair it with {new} below instead of the {old}"),
    "sleeve": ("swap the {old} for {new}", "give it {new} instead of {old}"),
    "neckline": ("swap the {old} for {new}", "give it {new} instead of the {old}"),
    "fit": ("change the shape from {old} to {new}", "make the shape {new} instead of {old}"),
    "length": ("change the length from {old} to {new}", "make the length {new} instead of {old}"),
    "closure": ("swap the {old} for {new}", "fasten it with {new} instead of the {old}"),
    "detail": ("swap the {old} for {new}", "finish it with {new} instead of the {old}"),
}
_ADDITIONS: dict[str, tuple[str, ...]] = {
    "second_colour": ("add {} accents", "add {} as second colour"),
    "bottom": ("add {} below", "pair it with {} below"),
    "sleeve": ("give it {}", "add {}"),
    "neckline": ("add {}", "give it {}"),
    "closure": ("fasten it with {}", "close it with {}"),
    "detail": ("add {}", "finish it with {}"),
}
_REMOVALS: dict[str, tuple[str, ...]] = {
    "second_colour": ("drop the {} accents", "remove the {} accents"),
    "sleeve": ("remove the {}", "drop the {}"),
    "closure": ("remove the {}", "take off the {}"),
    "detail": ("remove the {}", "drop the {}"),
}
_ABSENT = (NONE, "sleeveless")  # going there is a removal, coming from there an addition
# The style "want" is "the same but ...": only how it shall be.
_CONTINUATIONS: dict[str, str] = {
    "category": "as {}",
    "colour": "in {}",
    "second_colour": "with {} accents",
    "pattern": "in a {} design",
    "material": "in {} fabric",
    "bottom": "with {} below",
    "sleeve": "with {}",
    "neckline": "with {}",
    "fit": "with {}",
    "length": "with {}",
    "closure": "fastened with {}",
    "detail": "finished with {}",
}
_REMOVED: dict[str, str] = {
    "second_colour": "without a second colour",
    "closure": "without a closure",
    "detail": "without a decoration",
}
UNCHANGED = "keep it as it is"
STYLES = ("change", "instead", "want")


def caption(garment: Garment) -> str:
    """One sentence that states every visible attribute: 12 to 35 words, lower case.

    "a plain red satin skirt with a flared shape and a maxi length, fastened with a zip"
    """
    said = {name: WORDS[name].get(value, "") for name, value in garment.attributes().items()}
    colours = " and ".join(filter(None, (said["colour"], said["second_colour"])))
    # "a plain red top", but "a red and white striped top"
    plain = garment.pattern == "solid"
    looks = f"{said['pattern']} {colours}" if plain else f"{colours} {said['pattern']}"
    opening = "an" if looks.startswith("orange") else "a"
    if garment.category == "pants":
        opening = "a pair of"
    noun = said["category"]
    if garment.category == "outfit":
        noun = f"outfit of a top and {said['bottom']}"
    cut = [said[name] for name in ("sleeve", "neckline", "fit", "length") if said[name]]
    sentence = f"{opening} {looks} {said['material']} {noun} with {_listed(cut)}"
    extras = []
    if garment.closure != NONE:
        extras.append(f"fastened with {said['closure']}")
    if garment.detail != NONE:
        extras.append(f"finished with {said['detail']}")
    return sentence + (", " + " and ".join(extras) if extras else "")


def caption_claims(text: str) -> Claims:
    """What a text states about a garment. Any text will do; what it does not say is absent.

    "a navy and white striped top" -> colour navy, second_colour white, pattern striped,
    category top
    """
    return _claims(text)


def modification(reference: Garment, target: Garment, style: str = "change") -> str:
    """The text that asks for `target` given `reference`, attribute by attribute in the order of
    `ATTRIBUTES`, in one of `STYLES`:

        change:   "change the colour from navy to red and swap the long sleeves for short sleeves"
        instead:  "make it red instead of navy and give it short sleeves instead of long sleeves"
        want:     "the same but in red and with short sleeves"
    """
    changed = changes(reference, target)
    if not changed:
        return UNCHANGED
    if style == "want":
        return "the same but " + _listed([_continuation(n, v) for n, v in changed.items()])
    old, form = reference.attributes(), STYLES.index(style)
    return _listed([_commands(name, old[name], to)[form] for name, to in changed.items()])


def modification_claims(text: str) -> Claims:
    """Attribute -> new value ("none" for a removal), for every change that a text asks for."""
    return _claims(text)


def replaced(text: str) -> Claims:
    """Attribute -> old value, for every change of which a text says what it replaces."""
    said = [_REPLACEMENTS[phrase] for phrase in _phrases(text) if phrase in _REPLACEMENTS]
    return {attribute: old for attribute, old, _ in reversed(said)}


def _commands(attribute: str, old: str, new: str) -> list[str]:
    """How the styles "change" and "instead" ask for `new` where `old` is."""
    if new in _ABSENT and old != NONE:
        return [form.format(_bare(attribute, old)) for form in _REMOVALS[attribute]]
    if old in _ABSENT:
        return [form.format(_noun(attribute, new)) for form in _ADDITIONS[attribute]]
    before, after = _bare(attribute, old), _noun(attribute, new)
    if attribute in ("fit", "length"):  # "from fitted to flared", without "shape" and "length"
        before, after = before.rpartition(" ")[0], _bare(attribute, new).rpartition(" ")[0]
    return [form.format(old=before, new=after) for form in _SWAPS[attribute]]


def _continuation(attribute: str, new: str) -> str:
    if new == NONE:
        return _REMOVED[attribute]
    return _CONTINUATIONS[attribute].format(_noun(attribute, new))


def _noun(attribute: str, value: str) -> str:
    """The words of a value, with the article that clauses about a whole garment need."""
    words = WORDS[attribute][value]
    if attribute in ("category", "bottom") and value != "pants":
        return f"an {words}" if value == "outfit" else f"a {words}"
    return words


def _bare(attribute: str, value: str) -> str:
    """The words of a value without article: the zip, the bow."""
    return WORDS[attribute].get(value, "").removeprefix("a ")


def _listed(parts: list[str]) -> str:
    """["x", "y", "z"] -> "x, y and z"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _phrase_table() -> dict[str, Claims]:
    """Every phrase that means something, and what it claims. Where phrases overlap in a text
    the one that starts first counts, and of those the longest."""
    table: dict[str, Claims] = {}
    for attribute in WORDS.keys() - {"second_colour", "bottom"}:
        table |= {_bare(attribute, value): {attribute: value} for value in WORDS[attribute]}
    for colour in COLOURS:
        for phrase in ("{} accents", "{} as second colour"):
            table[phrase.format(colour)] = {"second_colour": colour}
        for other in COLOURS:
            table[f"{colour} and {other}"] = {"colour": colour, "second_colour": other}
    for bottom, words in WORDS["bottom"].items():
        for phrase in (f"top and {words}", f"{words} below"):
            table[phrase] = {"bottom": bottom}
    for attribute, removed in _REMOVED.items():
        table[removed] = {attribute: NONE}
    for attribute in ("closure", "detail"):
        table |= {f"without {words}": {attribute: NONE} for words in WORDS[attribute].values()}
    table |= {phrase: {attribute: new} for phrase, (attribute, _, new) in _REPLACEMENTS.items()}
    return table | _EVERYDAY


def _replacements() -> dict[str, tuple[str, str, str]]:
    """Every phrase that says what it replaces -> (attribute, old value, new value)."""
    return {
        phrase: (attribute, old, new)
        for attribute in WORDS
        for old, new in permutations(ATTRIBUTES[attribute], 2)
        if old not in _ABSENT and (new not in _ABSENT or attribute in _REMOVALS)
        for phrase in _commands(attribute, old, new)
    }


# Other ways people write the same, so that hand-written queries can be read as well.
_EVERYDAY: dict[str, Claims] = {
    "navy blue": {"colour": "navy"},
    "gray": {"colour": "grey"},
    "solid": {"pattern": "solid"},
    "stripes": {"pattern": "striped"},
    "polka dots": {"pattern": "dotted"},
    "sleeveless": {"sleeve": "sleeveless"},
    "without sleeves": {"sleeve": "sleeveless"},
    "v neck": {"neckline": "v-neck"},
    "knee-length": {"length": "knee"},
    "belted": {"closure": "belt"},
    "pockets": {"detail": "pockets"},
    "fringe": {"detail": "fringe"},
    "ruffle": {"detail": "ruffle"},
}


def _pattern(phrases: Mapping[str, Claims]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=len, reverse=True)
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w-])")


_REPLACEMENTS = _replacements()
_PHRASES = _phrase_table()
_ANY_PHRASE = _pattern(_PHRASES)


def _phrases(text: str) -> list[str]:
    return _ANY_PHRASE.findall(" ".join(text.lower().split()))


def _claims(text: str) -> Claims:
    """Claims of every phrase found, in the order of `ATTRIBUTES`; the first claim counts."""
    found: Claims = {}
    for phrase in _phrases(text):
        found = _PHRASES[phrase] | found
    return {attribute: found[attribute] for attribute in ATTRIBUTES if attribute in found}
