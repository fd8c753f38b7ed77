"""Texts about some of a garment's attributes, in many surface forms, for the retrieval model's text side.

The captions of `wording` have one phrase a value. Shoppers have more, so the retrieval model also sees

    "sleeveless, in navy"        "with polka dots and a roll neck"        "a red satin skirt"
"""

import random

from facap.catalog.garments import NONE, Garment
from facap.catalog.wording import WORDS, caption

_FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "sleeve": {
        "sleeveless": ("sleeveless", "without sleeves", "no sleeve"),
        "short": ("short sleeved", "with a short sleeve", "shorter sleeves"),
        "long": ("long sleeved", "with a long sleeve", "longer sleeves"),
        "puff": ("puffed sleeves", "puffy sleeves"),
    },
    "neckline": {
        "round": ("a crew neck", "round neckline"),
        "v-neck": ("v-neck", "a v-neck neckline"),
        "square": ("square neckline", "square neck"),
        "high": ("turtleneck", "a roll-neck", "high neck"),
        "collared": ("with a collar", "collared"),
        "lapel": ("lapels", "with lapels"),
        "hooded": ("hooded", "with a hood"),
        "stand": ("stand collar",),
    },
    "pattern": {
        "solid": ("plain", "no pattern", "solid", "without print"),
        "striped": ("with stripes", "striped", "stripes"),
        "checked": ("checks", "plaid", "checked"),
        "dotted": ("polka dots", "with dots", "polka-dot"),
        "floral": ("with flowers", "flowery", "floral print"),
        "chevron": ("zigzag", "chevron pattern"),
        "diamond": ("argyle", "with diamonds"),
        "colour-block": ("colour-block",),
    },
    "material": {
        "denim": ("denim", "jean", "made of denim"),
        "leather": ("leather", "made of leather"),
        "satin": ("silky", "satin", "made of silk"),
        "knit": ("knitted", "wool", "knit"),
        "cotton": ("cotton", "made of cotton"),
    },
    "fit": {
        "fitted": ("tight", "slim fit", "tighter"),
        "straight": ("straight cut", "straight"),
        "flared": ("flared", "a-line", "wide"),
        "loose": ("loose", "oversized", "looser"),
    },
    "length": {
        "mini": ("mini", "short", "shorter"),
        "knee": ("knee-length", "midi"),
        "maxi": ("maxi", "ankle-length", "longer"),
        "cropped": ("cropped", "shorter"),
        "tunic": ("tunic", "longer"),
        "long": ("coat length", "longer"),
        "shorts": ("shorts", "short"),
        "full": ("full length", "longer"),
    },
    "closure": {
        "buttons": ("buttoned", "with buttons", "button-up"),
        "zip": ("zipped", "with a zipper", "zip-up"),
        "belt": ("belted", "with a belt"),
        NONE: ("without a closure",),
    },
    "detail": {
        "pockets": ("with pockets", "pockets"),
        "ruffle": ("ruffled", "with ruffles"),
        "bow": ("with a bow",),
        "fringe": ("fringed", "with fringes"),
        NONE: ("without a decoration",),
    },
}


def describe(garment: Garment, rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """A text and the attributes that it speaks of: mostly a few of them, a third of the time the caption."""
    said = [name for name, value in garment.attributes().items() if value != NONE]
    if rng.random() < 0.35:
        return caption(garment), tuple(garment.attributes())
    optional = [n for n in ("closure", "detail") if getattr(garment, n) == NONE and rng.random() < 0.2]
    chosen = sorted(
        rng.sample(said, rng.randint(1, min(4, len(said)))) + optional, key=lambda _: rng.random()
    )
    phrases = [_phrase(name, getattr(garment, name), rng) for name in chosen]
    lead = rng.choice(("", "", "a ", "make it ", "i want ", "similar but "))
    return lead + rng.choice((" ", ", ", " and ")).join(phrases), tuple(chosen)


def _phrase(name: str, value: str, rng: random.Random) -> str:
    if name == "second_colour":
        return rng.choice(("with {} accents", "{} as second colour", "and {} print")).format(value)
    if name == "colour":
        return rng.choice(("{}", "in {}", "{} colour")).format(value)
    forms = _FORMS.get(name, {}).get(value, ())
    plain = WORDS[name].get(value)
    return rng.choice((*forms, plain) if plain else forms)
