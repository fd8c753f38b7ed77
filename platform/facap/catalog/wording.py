"""Attributes to words and words back to attributes, for the demo catalogue.

Two kinds of text. A caption describes one garment; a modification says how to get from a
reference to a target. Both can be read back: what a text claims is compared with what is true.

    caption:       "a navy and white striped cotton dress with long sleeves, a v-neck, a flared
                    fit and a knee length, fastened with buttons and finished with a bow"
    modification:  "make it red, give it short sleeves and remove the belt"
    claims of it:  {"colour": "red", "sleeve": "short", "closure": "none"}

Writing fills templates; reading looks for the phrases of `_PHRASES`, the longest first, so that
"white accents" is a second colour and never a colour. Silence about a closure or a detail in a
caption means there is none, and `caption_claims` leaves it out.
"""

import random
import re
from collections.abc import Mapping

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

# How a modification text states a change, one clause an attribute. The first list commands
# ("make it navy"), the second continues "the same but ..." ("in navy").
_COMMANDS: dict[str, tuple[str, ...]] = {
    "category": ("turn it into {}", "change it to {}"),
    "colour": ("make it {}", "change the colour to {}", "switch to {}"),
    "second_colour": ("use {} accents", "add {} as second colour", "set the accents to {}"),
    "pattern": ("choose a {} design", "change the pattern to {}", "go for a {} look"),
    "material": ("use {} fabric", "change the material to {}", "cut it from {}"),
    "bottom": ("pair it with {} below", "put {} below"),
    "sleeve": ("give it {}", "change to {}"),
    "neckline": ("give it {}", "add {}"),
    "fit": ("give it {}", "go for {}"),
    "length": ("cut it to {}", "choose {}"),
    "closure": ("fasten it with {}", "close it with {}"),
    "detail": ("add {}", "finish it with {}"),
}
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
# Going to NONE: commands name what goes away ({} is its noun), the continuation need not.
_REMOVALS: dict[str, tuple[str, ...]] = {
    "second_colour": ("drop the {} accents", "remove the second colour"),
    "closure": ("remove the {}", "take off the {}"),
    "detail": ("remove the {}", "leave out the {}"),
}
_REMOVED: dict[str, str] = {
    "second_colour": "without a second colour",
    "closure": "without a closure",
    "detail": "without a decoration",
}
UNCHANGED = "keep it as it is"


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


def modification(reference: Garment, target: Garment, rng: random.Random | None = None) -> str:
    """The text that asks for `target` given `reference`: each changed attribute with its new
    value, in the order of `ATTRIBUTES`. With `rng` the phrasing varies."""
    changed = changes(reference, target)
    if not changed:
        return UNCHANGED
    old = reference.attributes()
    if rng is not None and rng.random() < 0.35:
        return "the same but " + _listed([_continuation(n, v) for n, v in changed.items()])
    return _listed([_command(name, old[name], to, rng) for name, to in changed.items()])


def modification_claims(text: str) -> Claims:
    """Attribute -> new value ("none" for a removal), for every change that a text asks for."""
    return _claims(text)


def _command(attribute: str, old: str, new: str, rng: random.Random | None) -> str:
    removal = new == NONE
    templates = _REMOVALS[attribute] if removal else _COMMANDS[attribute]
    template = rng.choice(templates) if rng else templates[0]
    return template.format(_bare(attribute, old) if removal else _noun(attribute, new))


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
    for attribute, removals in _REMOVALS.items():
        table[_REMOVED[attribute]] = {attribute: NONE}
        for value, words in WORDS[attribute].items():
            for removal in removals:
                table[removal.format(_bare(attribute, value))] = {attribute: NONE}
            if attribute != "second_colour":
                table[f"without {words}"] = {attribute: NONE}
    for colour in COLOURS:
        for phrase in ("{} accents", "{} as second colour", "accents to {}"):
            table[phrase.format(colour)] = {"second_colour": colour}
        for other in COLOURS:
            table[f"{colour} and {other}"] = {"colour": colour, "second_colour": other}
    for bottom, words in WORDS["bottom"].items():
        for phrase in (f"top and {words}", f"{words} below"):
            table[phrase] = {"bottom": bottom}
    return table | _EVERYDAY


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


_PHRASES = _phrase_table()
_ANY_PHRASE = _pattern(_PHRASES)


def _claims(text: str) -> Claims:
    """Claims of every phrase found, in the order of `ATTRIBUTES`; the first claim counts."""
    found: Claims = {}
    for match in _ANY_PHRASE.finditer(" ".join(text.lower().split())):
        found = _PHRASES[match.group()] | found
    return {attribute: found[attribute] for attribute in ATTRIBUTES if attribute in found}
