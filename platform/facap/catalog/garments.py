"""What a product of the demo catalogue is: its attributes, and seeded sampling of catalogues.

A garment is one value per attribute. An attribute that a garment does not have (the sleeve of
a skirt, the second colour of a plain dress, a closure that is absent) is `NONE`.

    >>> import random
    >>> garment = sample_garment(random.Random(7), category="skirt")
    >>> garment.sleeve, garment.category
    ('none', 'skirt')
    >>> catalogue = sample_catalogue(100, seed=1)
    >>> len(set(catalogue))
    100

The order of `ATTRIBUTES` is the order in which captions and modification texts name things.
"""

import random
from dataclasses import asdict, dataclass, replace

NONE = "none"

COLOURS = (
    "black", "white", "grey", "navy", "blue", "red", "pink",
    "green", "yellow", "orange", "purple", "beige", "brown",
)  # fmt: skip

# Pairs that a shopper (or a small model, in warm or cool light) could not tell apart in a
# pattern: never used together as first and second colour.
_CLOSE_COLOURS: dict[str, tuple[str, ...]] = {
    "black": ("navy", "brown", "purple"),
    "white": ("beige", "yellow", "pink"),
    "grey": ("blue", "beige", "green", "pink", "purple"),
    "navy": ("purple", "brown"),
    "blue": ("purple", "green"),
    "red": ("orange", "brown", "purple"),
    "pink": ("orange", "beige"),
    "yellow": ("beige", "orange"),
    "orange": ("beige", "brown"),
    "green": ("brown", "purple"),
    "purple": ("brown",),
}

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "category": ("dress", "jacket", "outfit", "pants", "skirt", "top"),
    "colour": COLOURS,
    "second_colour": (NONE, *COLOURS),
    "pattern": (
        "solid", "striped", "checked", "dotted", "floral", "chevron", "diamond", "colour-block",
    ),
    "material": ("cotton", "denim", "leather", "satin", "knit"),
    "bottom": (NONE, "skirt", "pants"),
    "sleeve": (NONE, "sleeveless", "short", "long", "puff"),
    "neckline": (
        NONE, "round", "v-neck", "square", "high", "collared", "lapel", "hooded", "stand",
    ),
    "fit": ("fitted", "straight", "flared", "loose"),
    "length": (
        "mini", "knee", "maxi", "cropped", "regular", "tunic", "shorts", "full", "hip", "long",
    ),
    "closure": (NONE, "buttons", "zip", "belt"),
    "detail": (NONE, "pockets", "ruffle", "bow", "fringe"),
}  # fmt: skip

_UPPER: dict[str, tuple[str, ...]] = {
    "sleeve": ("sleeveless", "short", "long", "puff"),
    "neckline": ("round", "v-neck", "square", "high", "collared"),
}
_HANGING: dict[str, tuple[str, ...]] = {
    "fit": ("fitted", "straight", "flared"),
    "length": ("mini", "knee", "maxi"),
}

# What differs from category to category; every other attribute takes all values everywhere.
_BY_CATEGORY: dict[str, dict[str, tuple[str, ...]]] = {
    "dress": {**_UPPER, **_HANGING},
    "jacket": {
        "sleeve": ("sleeveless", "long"),
        "neckline": ("lapel", "hooded", "stand"),
        "fit": ("fitted", "straight", "loose"),
        "length": ("cropped", "hip", "long"),
    },
    "outfit": {"bottom": ("skirt", "pants"), **_UPPER, **_HANGING},
    "pants": {
        "fit": ("fitted", "straight", "flared"),
        "length": ("shorts", "cropped", "full"),
    },
    "skirt": _HANGING,
    "top": {
        **_UPPER,
        "fit": ("fitted", "straight", "loose"),
        "length": ("cropped", "regular", "tunic"),
    },
}
_ONLY_SOME_CATEGORIES = ("bottom", "sleeve", "neckline")

# Sampling weight of a value, 1 where not listed: plain and undecorated clothes are common.
_WEIGHTS = {("pattern", "solid"): 2.5, ("closure", NONE): 1.6, ("detail", NONE): 2.0}

VARIANT_SHARE = 0.6
"""Share of a catalogue's products that are variants of an earlier product."""


@dataclass(frozen=True)
class Garment:
    """One product. Raises ValueError for a value that its category cannot have."""

    category: str
    colour: str
    pattern: str
    material: str
    fit: str
    length: str
    second_colour: str = NONE
    bottom: str = NONE
    sleeve: str = NONE
    neckline: str = NONE
    closure: str = NONE
    detail: str = NONE

    def __post_init__(self) -> None:
        if self.category not in _BY_CATEGORY:
            raise ValueError(f"category: expected one of {list(_BY_CATEGORY)}, {self.category=}")
        for attribute in ATTRIBUTES:
            value, allowed = getattr(self, attribute), values(self.category, attribute)
            if value not in allowed:
                raise ValueError(f"{self.category}: {attribute} is {value!r}, not of {allowed}")
        if has_second_colour(self.category, self.pattern) != (self.second_colour != NONE):
            raise ValueError(
                f"{self.pattern} {self.category}: second_colour is {self.second_colour!r}; "
                "exactly patterned garments and outfits have a second colour"
            )

    def attributes(self) -> dict[str, str]:
        """Every attribute with its value, in the order of `ATTRIBUTES`."""
        return {attribute: getattr(self, attribute) for attribute in ATTRIBUTES}


def applicable(category: str) -> tuple[str, ...]:
    """The attributes that garments of a category have, in the order of `ATTRIBUTES`."""
    return tuple(name for name in ATTRIBUTES if values(category, name) != (NONE,))


def values(category: str, attribute: str) -> tuple[str, ...]:
    """The values an attribute takes in a category; `(NONE,)` where it does not apply."""
    if attribute == "category":
        return (category,)
    if attribute in _BY_CATEGORY[category]:
        return _BY_CATEGORY[category][attribute]
    return (NONE,) if attribute in _ONLY_SOME_CATEGORIES else ATTRIBUTES[attribute]


def has_second_colour(category: str, pattern: str) -> bool:
    """Patterns are drawn in the second colour, and so is the lower part of an outfit."""
    return pattern != "solid" or category == "outfit"


def contrasting(colour: str) -> tuple[str, ...]:
    """The colours that stand out clearly against `colour`."""
    return tuple(
        other
        for other in COLOURS
        if other != colour
        and other not in _CLOSE_COLOURS.get(colour, ())
        and colour not in _CLOSE_COLOURS.get(other, ())
    )


def differences(a: Garment, b: Garment) -> dict[str, tuple[str, str]]:
    """Attribute -> (value in a, value in b), for the attributes in which they differ."""
    return {
        attribute: (getattr(a, attribute), getattr(b, attribute))
        for attribute in ATTRIBUTES
        if getattr(a, attribute) != getattr(b, attribute)
    }


def changes(reference: Garment, target: Garment) -> dict[str, str]:
    """Attribute -> target value, for what a modification text has to say: the differences,
    without the attributes that the target's category does not have."""
    said = applicable(target.category)
    return {name: to for name, (_, to) in differences(reference, target).items() if name in said}


def sample_garment(rng: random.Random, category: str | None = None) -> Garment:
    """A garment with every attribute drawn at random, of the given category if there is one."""
    category = category or rng.choice(ATTRIBUTES["category"])
    drawn = {name: _draw(rng, category, name) for name in applicable(category)}
    drawn["second_colour"] = _second_colour(rng, category, drawn["pattern"], drawn["colour"])
    return Garment(**drawn)


def sample_variant(rng: random.Random, garment: Garment) -> Garment:
    """A garment of the same category that differs from `garment` in one to three attributes."""
    free = [name for name in applicable(garment.category) if name != "category"]
    while True:
        drawn = asdict(garment)
        for name in rng.sample(free, rng.randint(1, 3)):
            drawn[name] = _draw(rng, garment.category, name)
        if not has_second_colour(garment.category, drawn["pattern"]):
            drawn["second_colour"] = NONE
        elif drawn["second_colour"] not in contrasting(drawn["colour"]):
            drawn["second_colour"] = rng.choice(contrasting(drawn["colour"]))
        variant = replace(garment, **drawn)
        if 1 <= len(differences(garment, variant)) <= 3:
            return variant


def sample_catalogue(num_products: int, seed: int) -> list[Garment]:
    """`num_products` distinct garments in families: about `VARIANT_SHARE` of them vary an
    earlier one. The same seed gives the same list, and a longer list starts with the shorter."""
    rng = random.Random(seed)
    catalogue: dict[Garment, None] = {}
    while len(catalogue) < num_products:
        if catalogue and rng.random() < VARIANT_SHARE:
            garment = sample_variant(rng, rng.choice(list(catalogue)))
        else:
            garment = sample_garment(rng)
        catalogue.setdefault(garment)
    return list(catalogue)


def _draw(rng: random.Random, category: str, attribute: str) -> str:
    options = values(category, attribute)
    weights = [_WEIGHTS.get((attribute, value), 1.0) for value in options]
    return rng.choices(options, weights)[0]


def _second_colour(rng: random.Random, category: str, pattern: str, colour: str) -> str:
    return rng.choice(contrasting(colour)) if has_second_colour(category, pattern) else NONE
