"""The rendered demo catalogue: determinism, framing, and that attributes can be seen."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from facap.catalog.drawing import View, render, sample_view, svg
from facap.catalog.garments import (
    ATTRIBUTES,
    NONE,
    Garment,
    applicable,
    contrasting,
    has_second_colour,
    sample_garment,
    values,
)
from facap.catalog.silhouettes import silhouette


def test_pictures_are_deterministic_and_of_the_asked_size() -> None:
    rng = random.Random(0)
    garment, view = sample_garment(rng), sample_view(rng)
    picture = render(garment, view, width=64)
    assert picture.shape == (80, 64, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, render(garment, view, width=64))
    assert not np.array_equal(picture, render(garment, replace(view, noise=1), width=64))
    assert svg(garment, view) != svg(garment, sample_view(rng))


def test_every_garment_stays_within_the_central_square() -> None:
    rng = random.Random(1)
    for _ in range(400):
        garment, view = sample_garment(rng), sample_view(rng)
        cut = silhouette(garment, view.arm_spread)
        data = "".join((cut.body, *cut.sleeves, cut.lower))
        numbers = "".join(c if c in "0123456789.-" else " " for c in data).split()
        turn = math.radians(view.rotation)
        for x, y in zip(map(float, numbers[0::2]), map(float, numbers[1::2]), strict=True):
            dx, dy = view.scale * (x - 128) * (-1 if view.mirrored else 1), view.scale * (y - 160)
            assert 0 <= 128 + view.shift_x + dx * math.cos(turn) - dy * math.sin(turn) <= 256
            assert 32 <= 160 + view.shift_y + dx * math.sin(turn) + dy * math.cos(turn) <= 288


@pytest.mark.parametrize("category", ATTRIBUTES["category"])
def test_every_value_of_every_attribute_changes_the_picture(category: str) -> None:
    """At 128 px and in the same view, two values differ in at least 0.3% of the picture."""
    view = View(grain=0.0)
    rng = random.Random(2)
    garment = sample_garment(rng, category)
    for attribute in applicable(category):
        if attribute in ("category", "second_colour"):
            continue
        pictures = [_shown(garment, attribute, value, view) for value in values(category, attribute)]
        for i, one in enumerate(pictures):
            for other in pictures[:i]:
                visible = np.abs(one - other).max(axis=2) > 20
                assert visible.mean() > 0.003, (attribute, i)


def _shown(garment: Garment, attribute: str, value: str, view: View) -> np.ndarray:
    changed = {"second_colour": garment.second_colour, attribute: value}
    colour, pattern = changed.get("colour", garment.colour), changed.get("pattern", garment.pattern)
    if not has_second_colour(garment.category, pattern):
        changed["second_colour"] = NONE
    elif changed["second_colour"] not in contrasting(colour):
        changed["second_colour"] = contrasting(colour)[0]
    return render(replace(garment, **changed), view, width=128).astype(int)
