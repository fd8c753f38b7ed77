"""The cut of a garment as outlines: which attribute makes which edge.

Everything is laid out in body units (bu) and mapped to the picture by a `Frame`, closer for
tops than for dresses. Sides are lists of (x, y) points that the frame turns into curves.

    >>> import random
    >>> from facap.catalog.garments import sample_garment
    >>> cut = silhouette(sample_garment(random.Random(1), "pants"), arm_spread=0.0)
    >>> len(cut.hems)   # one a leg
    2
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from facap.catalog.frame import Frame, Hem, Point
from facap.catalog.garments import NONE, Garment

SHOULDER_Y, ARMPIT_Y, WAIST_Y, HIP_Y, CROTCH_Y = 70.0, 99.0, 126.0, 156.0, 167.0

# Where a hem lies, in bu, for each length.
_HEM_Y = {
    "dress": {"mini": 168.0, "knee": 205.0, "maxi": 248.0},
    "outfit": {"mini": 180.0, "knee": 212.0, "maxi": 246.0},
    "skirt": {"mini": 168.0, "knee": 206.0, "maxi": 252.0},
    "pants": {"shorts": 194.0, "cropped": 225.0, "full": 256.0},
    "top": {"cropped": 124.0, "regular": 149.0, "tunic": 178.0},
    "jacket": {"cropped": 132.0, "hip": 158.0, "long": 202.0},
}
# Zoom in px per bu, for the longest garment of a category.
_ZOOM = {"dress": 1.02, "outfit": 1.02, "skirt": 1.36, "pants": 1.36, "top": 1.45, "jacket": 1.2}
_WIDER = 1.09  # a little stockier than life, so that collars and closures read well
_MAX_HEIGHT_PX, _MAX_HALF_WIDTH_PX = 202.0, 97.0  # what any pose keeps within the square


@dataclass(frozen=True)
class Silhouette:
    """Outlines (SVG path data) and the places where trims go, in px."""

    frame: Frame
    body: str  # the upper garment, or "" for skirts and pants
    sleeves: tuple[str, ...]
    cuffs: tuple[str, ...]  # lines across the sleeves' ends
    lower: str  # the skirt or pants, or ""
    hems: tuple[Hem, ...]
    body_hem_y: float  # of the upper garment, or of the waistband
    waist: Hem


def silhouette(garment: Garment, arm_spread: float) -> Silhouette:
    """The outlines of a garment; `arm_spread` in bu moves the wrists away from the body."""
    category = garment.category
    hem_y = _HEM_Y[category][garment.length]
    frame = _frame(garment, hem_y, arm_spread)
    kind = garment.bottom if category == "outfit" else category
    lower, body = "", ""
    hems: tuple[Hem, ...] = ()
    body_hem_y, waist_y, waist_width = WAIST_Y, WAIST_Y + 4, 29.5
    if kind in ("skirt", "pants"):
        draw = _skirt if kind == "skirt" else _pants
        lower, hems = draw(frame, garment.fit, hem_y)
    if category not in ("skirt", "pants"):
        body_hem_y = 129.0 if category == "outfit" else hem_y
        side = _side(garment, body_hem_y)
        body = _body(frame, garment.neckline, garment.sleeve, side)
        body_hem = Hem(frame.x(-side[-1][0]), frame.x(side[-1][0]), frame.y(body_hem_y))
        hems = hems or (body_hem,)
        waist_y = min(WAIST_Y, body_hem_y - 7)
        waist_width = _width_at(side, waist_y)
    spread = arm_spread + (7 if garment.fit == "loose" else 0)
    sleeves = [_sleeve(frame, garment.sleeve, sign, spread) for sign in (-1, 1)]
    return Silhouette(
        frame=frame,
        body=body,
        sleeves=tuple(outline for outline, _ in sleeves if outline),
        cuffs=tuple(cuff for _, cuff in sleeves if cuff),
        lower=lower,
        hems=hems,
        body_hem_y=frame.y(body_hem_y),
        waist=Hem(frame.x(-waist_width), frame.x(waist_width), frame.y(waist_y)),
    )


def _frame(garment: Garment, hem_y: float, arm_spread: float) -> Frame:
    """Centres the garment; shorter ones are shown closer, though not as large as long ones."""
    category = garment.category
    first_y = {"hooded": 28.0, "high": 46.0}.get(garment.neckline, 56.0)
    if category in ("skirt", "pants"):
        first_y = 122.0
    longest = max(_HEM_Y[category].values()) - first_y
    last_y = hem_y + (7 if garment.detail in ("ruffle", "fringe") else 3)
    half_width = {
        "long": 63 + arm_spread,
        "puff": 66 + arm_spread / 3,
        "short": 57 + arm_spread / 3,
    }
    if garment.sleeve == "long":
        last_y = max(last_y, 167.0)
    widest = max(half_width.get(garment.sleeve, 50) + 7 * (garment.fit == "loose"), 50)
    if garment.fit == "flared" and category != "pants":
        widest = max(widest, 48 + (hem_y - WAIST_Y) * 0.26)
    zoom = _ZOOM[category] * (1 + 0.7 * (1 - (last_y - first_y) / longest))
    zoom_x = min(zoom * _WIDER, _MAX_HALF_WIDTH_PX / widest)
    zoom_y = min(zoom, _MAX_HEIGHT_PX / (last_y - first_y), zoom_x * 1.1)
    return Frame(zoom_x, zoom_y, (first_y + last_y) / 2)


def _side(garment: Garment, hem_y: float) -> list[Point]:
    """The right side of an upper garment, from the armpit to the hem."""
    down = hem_y - WAIST_Y
    if garment.category == "dress":
        sides: dict[str, list[Point]] = {
            "fitted": [(23, WAIST_Y), (36, HIP_Y), (33 - down * 0.07, hem_y)],
            "straight": [(35, WAIST_Y), (38, HIP_Y), (41, hem_y)],
            "flared": [(25, WAIST_Y - 2), (33 + down * 0.10, HIP_Y - 6), (44 + down * 0.24, hem_y)],
        }
        rest = sides[garment.fit]
    elif garment.category == "outfit":
        rest = [({"fitted": 25, "straight": 34, "flared": 27}[garment.fit], hem_y)]
    else:
        sides = {
            "fitted": [(23, WAIST_Y), (34, HIP_Y), (37, 205)],
            "straight": [(34, WAIST_Y), (36, HIP_Y), (38, 205)],
            "loose": [(44, WAIST_Y), (51, HIP_Y), (57, 205)],
        }
        rest = sides[garment.fit]
        rest = [
            *(p for p in rest if p[1] < hem_y - 6),
            (_width_at([(31, ARMPIT_Y), *rest], hem_y), hem_y),
        ]
    armpit = 35 if garment.fit == "loose" else 31
    return [(armpit, ARMPIT_Y), *rest]


def _width_at(side: list[Point], y: float) -> float:
    """Half the width at a height, between the points of a side."""
    for (x0, y0), (x1, y1) in pairwise(side):
        if y <= y1:
            return x0 + (x1 - x0) * (y - y0) / (y1 - y0)
    return side[-1][0]


def _body(frame: Frame, neckline: str, sleeve: str, side: list[Point]) -> str:
    at = frame.at
    neck = {"round": 20.0, "v-neck": 19.0, "square": 22.0, "collared": 15.0}.get(neckline, 14.0)
    opening = {
        "round": "C" + frame.points([(-19, 91), (19, 91), (neck, 63)]),
        "v-neck": f"L{at(0, 97)} L{at(neck, 63)}",
        "square": f"L{at(-neck + 2, 88)} L{at(neck - 2, 88)} L{at(neck, 63)}",
        "collared": f"L{at(0, 80)} L{at(neck, 63)}",
        "lapel": f"L{at(0, 104)} L{at(neck, 63)}",
        "stand": f"L{at(0, 72)} L{at(neck, 63)}",
    }.get(neckline, "C" + frame.points([(-8, 70), (8, 70), (neck, 63)]))
    tip = 34.0 if sleeve == "sleeveless" else 38.0
    hem_x, hem_y = side[-1]
    left = [(-x, y) for x, y in reversed(side)]
    armhole = (tip - 8, 86.0)
    return (
        f"M{at(-neck, 63)} {opening} L{at(tip, SHOULDER_Y)} Q{at(*armhole)} {at(*side[0])}"
        + frame.smooth(side)
        + f"Q{at(0, hem_y + 4)} {at(-hem_x, hem_y)}"
        + frame.smooth(left)
        + f"Q{at(-armhole[0], armhole[1])} {at(-tip, SHOULDER_Y)} Z"
    )


def _sleeve(frame: Frame, kind: str, sign: int, spread: float) -> tuple[str, str]:
    """Outline and cuff line of one sleeve; sign is -1 for the left of the picture."""
    if kind in (NONE, "sleeveless"):
        return "", ""
    if kind == "long":
        outer = [(37, SHOULDER_Y), (47, 88), (56 + spread * 0.6, 122), (62 + spread, 163)]
        inner = [(48 + spread, 165), (42 + spread * 0.6, 128), (31, 102)]
        cuff = ((61.5 + spread, 154), (47 + spread, 156))
    elif kind == "short":
        outer = [(37, SHOULDER_Y), (48, 86), (56 + spread * 0.4, 106)]
        inner = [(38 + spread * 0.4, 111), (31, 101)]
        cuff = ((55 + spread * 0.4, 102), (36 + spread * 0.4, 107))
    else:
        outer = [(33, SHOULDER_Y - 2), (49, 63), (65 + spread * 0.3, 80), (62 + spread * 0.3, 104),
                 (54 + spread * 0.3, 111)]  # fmt: skip
        inner = [(37 + spread * 0.3, 116), (29, 107), (28, 97)]
        cuff = ((58 + spread * 0.3, 107), (34 + spread * 0.3, 112))
    outer, inner = [(sign * x, y) for x, y in outer], [(sign * x, y) for x, y in inner]
    start, end = [frame.at(sign * x, y) for x, y in cuff]
    outline = f"M{frame.at(*outer[0])}{frame.smooth(outer)}L{frame.at(*inner[0])}{frame.smooth(inner)}Z"
    return outline, f"M{start} L{end}"


def _skirt(frame: Frame, fit: str, hem_y: float) -> tuple[str, tuple[Hem, ...]]:
    down = hem_y - WAIST_Y
    sides: dict[str, list[Point]] = {
        "fitted": [(28, WAIST_Y), (39, HIP_Y), (37 - down * 0.09, hem_y)],
        "straight": [(28, WAIST_Y), (40, HIP_Y - 8), (43, hem_y)],
        "flared": [
            (28, WAIST_Y),
            (36 + down * 0.10, WAIST_Y + down * 0.35),
            (44 + down * 0.26, hem_y),
        ],
    }
    right = sides[fit]
    hem_x = right[-1][0]
    left = [(-x, y) for x, y in reversed(right)]
    at = frame.at
    outline = (
        f"M{at(-28, WAIST_Y)} L{at(28, WAIST_Y)}"
        + frame.smooth(right)
        + f"Q{at(0, hem_y + 6)} {at(-hem_x, hem_y)}"
        + frame.smooth(left)
        + "Z"
    )
    return outline, (Hem(frame.x(-hem_x), frame.x(hem_x), frame.y(hem_y)),)


def _pants(frame: Frame, fit: str, hem_y: float) -> tuple[str, tuple[Hem, ...]]:
    down = (hem_y - CROTCH_Y) / (256 - CROTCH_Y)
    # Half the width of a leg at its hem, and how far that is from the centre line.
    half = {"fitted": 16 - 6 * down, "straight": 18.0, "flared": 22 + 6 * math.sqrt(down)}[fit]
    middle = half + {"fitted": 4 + 5 * down, "straight": 4 + 3 * down, "flared": 5 + down}[fit]
    hip_x, knee_y = 39.0, CROTCH_Y + 0.45 * (hem_y - CROTCH_Y)
    slim = {"fitted": 3.0, "straight": 0.0, "flared": 6.0 if down > 0.5 else 0.0}[fit]
    outer = [(28, WAIST_Y), (hip_x, HIP_Y), ((hip_x + middle + half) / 2 - slim, knee_y),
             (middle + half, hem_y)]  # fmt: skip
    inner = [
        (middle - half, hem_y),
        ((middle - half) * 0.5 + 2 + slim * 0.6, knee_y),
        (0, CROTCH_Y),
    ]
    at = frame.at
    outline = (
        f"M{at(-28, WAIST_Y)} L{at(28, WAIST_Y)}"
        + frame.smooth(outer)
        + f"L{at(*inner[0])}"
        + frame.smooth(inner)
        + frame.smooth([(-x, y) for x, y in reversed(inner)])
        + f"L{at(-outer[-1][0], hem_y)}"
        + frame.smooth([(-x, y) for x, y in reversed(outer)])
        + "Z"
    )
    hems = tuple(
        Hem(frame.x(sign * middle - half), frame.x(sign * middle + half), frame.y(hem_y)) for sign in (-1, 1)
    )
    return outline, hems
