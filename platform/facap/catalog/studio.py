"""The set of a product picture: wall, floor, light shapes, and the form that wears the garment.

SVG, px of the 256 x 320 picture, except for the mannequin, which lives on the body of
`silhouettes` (body units, mapped by its frame).
"""

from facap.catalog.palette import shade
from facap.catalog.silhouettes import Silhouette

BACKDROPS = ("studio", "floor", "arch", "window", "panels", "spot")
TINTS = (
    "#eceae6", "#e6dfd4", "#dfe6ea", "#efe0dc", "#dde5da", "#e2deea", "#d8d3cb", "#cfd6dc",
    "#f1ead9", "#c9c4bd",
)  # fmt: skip
FORMS = ("#e7d3c2", "#d3ae92", "#a9795a", "#7c5640", "#f0ebe4", "#bdb7ae")
"""Tones of the mannequin: skin tones, plaster, grey linen."""


def backdrop(style: str, tint: str) -> str:
    """The picture behind everything; `tint` is the colour of the wall."""
    base = f'<rect width="256" height="320" fill="{shade(tint, 1.1)}"/>'
    floor = f'<path d="M0,262H256V320H0z" fill="{shade(tint, 0.82)}"/>'
    shapes = {
        "studio": "",
        "floor": floor + f'<path d="M0,258H256v5H0z" fill="{shade(tint, 1.7)}"/>',
        "arch": f'<path d="M30,320V128a98,98 0 0 1 196,0V320z" fill="{shade(tint, 0.87)}"/>' + floor,
        "window": f'<path d="M34,0l92,0l64,262l-106,0z M140,0l58,0l72,262l-64,0z" '
        f'fill="{shade(tint, 1.8)}" fill-opacity=".6"/>' + floor,
        "panels": "".join(
            f'<rect x="{x}" y="22" width="84" height="222" fill="none" '
            f'stroke="{shade(tint, 0.8)}" stroke-width="2"/>'
            for x in (-14, 86, 186)
        )
        + floor,
        "spot": f'<ellipse cx="128" cy="150" rx="112" ry="138" fill="{shade(tint, 1.5)}"/>',
    }
    return base + shapes[style]


def ground_shadow(cut: Silhouette) -> str:
    """Under the feet, or out of the picture where those are."""
    y = cut.frame.y(279)
    return (
        '<radialGradient id="shadow"><stop stop-color="#000" stop-opacity=".34"/>'
        '<stop offset="1" stop-color="#000" stop-opacity="0"/></radialGradient>'
        f'<ellipse cx="128" cy="{y:.1f}" rx="84" ry="11" fill="url(#shadow)"/>'
    )


# The right edge of the mannequin, from the base of the neck to the inside of the leg, in bu.
_TRUNK = [(10, 46), (11, 58), (19, 65), (34, 71), (29, 98), (23, 124), (34, 157)]
_LEG = [(34, 160), (31, 182), (25, 212), (23, 230), (17, 264), (18, 271), (23, 279)]
_INNER_LEG = [(9, 279), (10, 264), (9, 230), (9, 212), (1.5, 174)]


def mannequin(cut: Silhouette, tone: str, arm_spread: float, stand: bool) -> str:
    """The form behind the garment: it shows how long everything is. With `stand` it is a bust
    on a pole, else it has legs; for a garment that hangs from the waist it starts there."""
    frame, at, line = cut.frame, cut.frame.at, shade(tone, 0.8)
    style = f'fill="{tone}" stroke="{line}" stroke-width="1.1"'
    upper = _TRUNK if cut.body else [(24, 104), (23, 124), (34, 157)]
    lower = [(33, 168), (27, 181), (0, 186)] if stand else [*_LEG, *_INNER_LEG]
    right = [*upper, *lower]
    left = [(-x, y) for x, y in reversed(right)]
    neck_x, neck_y = upper[0]
    rim = f"M{at(-neck_x, neck_y)}Q{at(0, neck_y - 4)} {at(neck_x, neck_y)}"
    trunk = f'<path d="{rim}{frame.smooth(right)}L{at(*left[0])}{frame.smooth(left)}z" {style}/>'
    cut_end = f'<path d="{rim}Q{at(0, neck_y + 5)} {at(-neck_x, neck_y)}z" fill="{line}"/>'
    pole = f'<path d="M{at(0, 180)}V400" stroke="#6b5846" stroke-width="7"/>' if stand else ""
    arms = "".join(_arm(cut, sign, arm_spread, style) for sign in (-1, 1)) if cut.body else ""
    return pole + arms + trunk + cut_end


def _arm(cut: Silhouette, sign: int, spread: float, style: str) -> str:
    outer = [(30, 71), (38, 74), (45, 92), (52 + spread * 0.6, 124), (57 + spread, 160),
             (58 + spread, 177)]  # fmt: skip
    inner = [(53 + spread, 179), (50 + spread, 160), (44 + spread * 0.6, 126), (33, 96)]
    edge = [(sign * x, y) for x, y in (*outer, *inner)]
    return f'<path d="M{cut.frame.at(*edge[0])}{cut.frame.smooth(edge)}z" {style}/>'
