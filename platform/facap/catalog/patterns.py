"""The marks of a pattern and the texture of a material, as SVG that the caller clips.

All lengths are px of the 256 x 320 picture. Marks repeat every 16 to 28 px so that they survive
a reduction to half the size. Every function draws explicit shapes in one or two paths, because
SVG <pattern> fills render five times slower.

    >>> "path" in pattern_marks("dotted", Box(60, 60, 200, 250), "#ffffff")
    True
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle to cover, px."""

    left: float
    top: float
    right: float
    bottom: float

    def rows(self, step: float) -> list[float]:
        return _steps(self.top, self.bottom, step)

    def columns(self, step: float) -> list[float]:
        return _steps(self.left, self.right, step)

    def staggered(self, step_x: float, step_y: float) -> Iterator[tuple[float, float]]:
        """Points of rows of which every other one is moved by half a step."""
        for index, y in enumerate(self.rows(step_y)):
            for x in self.columns(step_x):
                yield x + (step_x / 2 if index % 2 else 0), y


def _steps(start: float, stop: float, step: float) -> list[float]:
    return [start + i * step for i in range(int((stop - start) / step) + 2)]


def pattern_marks(pattern: str, box: Box, colour: str) -> str:
    """The second colour's share of a pattern over `box`; nothing for a solid garment."""
    if pattern == "solid":
        return ""
    return _MARKS[pattern](box, colour)


def _striped(box: Box, colour: str) -> str:
    bars = "".join(f"M{box.left},{y:.0f}H{box.right}v8H{box.left}z" for y in box.rows(19))
    return f'<path d="{bars}" fill="{colour}"/>'


def _checked(box: Box, colour: str) -> str:
    across = "".join(f"M{box.left},{y:.0f}H{box.right}v11H{box.left}z" for y in box.rows(23))
    down = "".join(f"M{x:.0f},{box.top}V{box.bottom}h11V{box.top}z" for x in box.columns(23))
    return "".join(f'<path d="{d}" fill="{colour}" fill-opacity=".68"/>' for d in (across, down))


def _dotted(box: Box, colour: str) -> str:
    dots = "".join(_disc(x, y, 4.9) for x, y in box.staggered(21, 12.5))
    return f'<path d="{dots}" fill="{colour}"/>'


def _floral(box: Box, colour: str) -> str:
    petals, hearts, leaves = [], [], []
    for x, y in box.staggered(35, 20):
        for dx, dy in ((0, -5.4), (5.1, -1.7), (3.2, 4.4), (-3.2, 4.4), (-5.1, -1.7)):
            petals.append(_disc(x + dx, y + dy, 4.1))
        hearts.append(_disc(x, y, 3.1))
        leaves.append(f"M{x + 8:.1f},{y + 5:.1f}q6,-1 8,6q-7,1 -8,-6z")
    return (
        f'<path d="{"".join(leaves)}" fill="#4d7d4f"/><path d="{"".join(petals)}" fill="{colour}"/>'
        f'<path d="{"".join(hearts)}" fill="#e9b44c"/>'
    )


def _chevron(box: Box, colour: str) -> str:
    teeth = "l10,-10l10,10" * (int((box.right - box.left) / 20) + 2)
    lines = "".join(f"M{box.left},{y:.0f}{teeth}" for y in box.rows(20))
    return f'<path d="{lines}" fill="none" stroke="{colour}" stroke-width="6.5"/>'


def _diamond(box: Box, colour: str) -> str:
    rhombi, lines = [], []
    for x, y in box.staggered(30, 21):
        rhombi.append(f"M{x:.0f},{y - 16:.0f}l11,16l-11,16l-11,-16z")
        lines.append(f"M{x - 15:.0f},{y:.0f}l15,21l15,-21")
    return (
        f'<path d="{"".join(rhombi)}" fill="{colour}"/>'
        f'<path d="{"".join(lines)}" fill="none" stroke="{colour}" stroke-width="1"/>'
    )


def _colour_block(box: Box, colour: str) -> str:
    """Everything below a slanted line through the middle."""
    middle, slope = (box.top + box.bottom) / 2, 0.32 * (box.right - box.left) / 2
    return (
        f'<path d="M{box.left},{middle + slope:.1f}L{box.right},{middle - slope:.1f}'
        f'V{box.bottom}H{box.left}z" fill="{colour}"/>'
    )


_MARKS = {
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "floral": _floral,
    "chevron": _chevron,
    "diamond": _diamond,
    "colour-block": _colour_block,
}


def _disc(x: float, y: float, radius: float) -> str:
    turn = f"a{radius},{radius} 0 1 0"
    return f"M{x - radius:.1f},{y:.1f}{turn} {2 * radius},0{turn} {-2 * radius},0z"


def material_texture(material: str, box: Box) -> str:
    """Light and dark marks that tell a material, over any colour; cotton has none."""
    if material == "cotton":
        return ""
    return _TEXTURES[material](box)


def _denim(box: Box) -> str:
    height = box.bottom - box.top
    lines = "".join(
        f"M{x:.1f},{box.bottom}l{height:.0f},{-height:.0f}" for x in _steps(box.left - height, box.right, 7.5)
    )
    return (
        f'<path d="{lines}" fill="none" stroke="#fff" stroke-width="2.1" stroke-opacity=".34"/>'
        f'<path d="{lines}" transform="translate(3.6 0)" fill="none" stroke="#000" '
        f'stroke-width="1.6" stroke-opacity=".22"/>'
    )


def _knit(box: Box) -> str:
    """Columns of V stitches with a dark gap between the columns."""
    width, height = 11.0, 8.0
    stitches = "".join(
        f"M{x:.1f},{y:.1f}l{width / 2},{height * 0.75}l{width / 2},{-height * 0.75}"
        for x in box.columns(width)
        for y in box.rows(height)
    )
    gaps = "".join(f"M{x:.1f},{box.top}V{box.bottom}" for x in box.columns(width))
    return (
        f'<path d="{stitches}" fill="none" stroke="#000" stroke-width="1.9" stroke-opacity=".3"/>'
        f'<path d="{stitches}" transform="translate(0 3)" fill="none" stroke="#fff" '
        f'stroke-width="1.6" stroke-opacity=".32"/>'
        f'<path d="{gaps}" stroke="#000" stroke-width="2" stroke-opacity=".24"/>'
    )


def _leather(box: Box) -> str:
    """Hard, narrow reflections along the body and a dark bloom at the sides."""
    width, height = box.right - box.left, box.bottom - box.top
    streaks = ""
    for share, bend, thickness in ((0.2, 5, 8), (0.36, -6, 6), (0.66, 6, 9), (0.83, -5, 7)):
        x = box.left + share * width
        for start, length in ((0.06, 0.36), (0.52, 0.38)):
            y, reach = box.top + (start + 0.1 * (share > 0.5)) * height, length * height
            streaks += (
                f"M{x:.1f},{y:.1f}q{bend},{reach / 2:.1f} 0,{reach:.1f}"
                f"q{bend + thickness},{-reach / 2:.1f} 0,{-reach:.1f}z"
            )
    return (
        f'<rect x="{box.left}" y="{box.top}" width="{width}" height="{height}" '
        f'fill="url(#sides)"/><path d="{streaks}" fill="#fff" fill-opacity=".62"/>'
    )


def _satin(box: Box) -> str:
    return (
        f'<rect x="{box.left}" y="{box.top}" width="{box.right - box.left}" '
        f'height="{box.bottom - box.top}" fill="url(#sheen)"/>'
    )


_TEXTURES = {"denim": _denim, "knit": _knit, "leather": _leather, "satin": _satin}

GRADIENTS = (
    '<linearGradient id="sheen" gradientUnits="userSpaceOnUse" x1="90" y1="100" x2="116" y2="120" '
    'spreadMethod="reflect"><stop offset="0" stop-color="#fff" stop-opacity=".54"/>'
    '<stop offset=".45" stop-color="#fff" stop-opacity="0"/>'
    '<stop offset=".55" stop-color="#000" stop-opacity="0"/>'
    '<stop offset="1" stop-color="#000" stop-opacity=".24"/></linearGradient>'
    '<linearGradient id="sides"><stop offset="0" stop-color="#000" stop-opacity=".45"/>'
    '<stop offset=".35" stop-color="#000" stop-opacity="0"/>'
    '<stop offset=".65" stop-color="#000" stop-opacity="0"/>'
    '<stop offset="1" stop-color="#000" stop-opacity=".45"/></linearGradient>'
)
"""Definitions that the textures refer to; part of every drawing."""
