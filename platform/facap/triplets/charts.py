"""The survey's figures as inline SVG: numbers in, markup out, colours by the classes of the page's style.

    >>> "<svg" in columns([5, 3], ["0", "1"], "images", kept=(1, 1))
    True

Everything that is drawn is a number or a label of ours, and labels are escaped all the same. Hovering over
a bar says its numbers (`<title>`), so the page needs no script.
"""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

WIDTH, LEFT, RIGHT = 1040, 58, 14  # of the large charts, SVG px: all of them share one axis
PLOT = WIDTH - LEFT - RIGHT
MOST_TICKS = 12


def similarity(group: dict[str, Any], edges: Sequence[float], band: tuple[float, float]) -> Markup:
    """Neighbours by cosine with the band marked; below them the pairs that were chosen."""
    kinds = group["similarity"]
    top, height, gap, small = 26, 210, 16, 62
    most = max(1, *(sum(bar) for bar in zip(kinds["outside"], kinds["band"], kinds["fits"], strict=True)))
    parts = _band(edges, band, top, height + gap + small, named=True)
    parts += _grid(most, top, height, "neighbours")
    parts += _stacks(group, edges, top, height, most, LEFT, PLOT)
    base = top + height + gap
    tallest = max(1, *kinds["pairs"])
    for number, pairs in enumerate(kinds["pairs"]):
        x, wide = _place(edges, number, LEFT, PLOT)
        size = small * pairs / tallest
        parts.append(
            _bar(x, base + small - size, wide, size, "pick", _span(edges, number, f"{pairs:,} pairs"))
        )
    parts.append(_text(LEFT - 8, base + small, "pairs", "end"))
    parts += _axis(edges, base + small)
    return _svg(WIDTH, base + small + 24, parts, "Neighbours by cosine, and the pairs chosen")


def small_similarity(group: dict[str, Any], edges: Sequence[float], band: tuple[float, float]) -> Markup:
    """The same for one category, small and without the pairs."""
    kinds = group["similarity"]
    most = max(1, *(sum(bar) for bar in zip(kinds["outside"], kinds["band"], kinds["fits"], strict=True)))
    parts = _band(edges, band, 0, 80, left=0, plot=320)
    parts += _stacks(group, edges, 0, 80, most, 0, 320)
    parts.append('<line class="axis" x1="0" x2="320" y1="80" y2="80"/>')
    return _svg(320, 82, parts, "Neighbours by cosine")


def edges_moved(group: dict[str, Any], edges: Sequence[float], band: tuple[float, float]) -> Markup:
    """Share of the images that have a choice, if one edge of the band lay elsewhere."""
    top, height = 26, 150
    images = max(1, group["funnel"]["vector"])
    parts = _band(edges, band, top, height, named=True) + _grid(100, top, height, "% of images")
    for name, kind in (("if_least", "least"), ("if_greatest", "greatest")):
        points = []
        for edge, number in zip(edges, group[name], strict=True):
            x, y = _x(edges, edge, LEFT, PLOT), top + height * (1 - number / images)
            points.append(f"{x:.1f},{y:.1f}")
        parts.append(f'<polyline class="curve {kind}" points="{" ".join(points)}"/>')
        for edge, number in zip(edges, group[name], strict=True):
            x, y = _x(edges, edge, LEFT, PLOT), top + height * (1 - number / images)
            said = f"{kind} cosine {edge:g}: {number:,} images ({100 * number / images:.1f} %) have a choice"
            parts.append(
                f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{_title(said)}</circle>'
            )
    parts += _axis(edges, top + height)
    return _svg(WIDTH, top + height + 24, parts, "Images with a choice, by where the band's edges lie")


def columns(
    values: Sequence[int], labels: Sequence[str], unit: str, kept: tuple[int, int], height: int = 150
) -> Markup:
    """One column a value; those from `kept[0]` to `kept[1]`, as places, are inside the limits."""
    wide, top = 500, 24
    most = max(1, *values)
    step = wide / len(values)
    low, high = max(kept[0], 0), min(kept[1], len(values) - 1)
    parts = []
    if high >= low:
        x, size = low * step, (high - low + 1) * step
        parts.append(f'<rect class="kept" x="{x:.1f}" y="0" width="{size:.1f}" height="{top + height}"/>')
    for place, value in enumerate(values):
        size = height * value / most
        kind = "fit" if low <= place <= high else "out"
        x, middle = place * step + 0.12 * step, (place + 0.5) * step
        said = f"{labels[place]}: {value:,} {unit}"
        parts.append(_bar(x, top + height - size, 0.76 * step, size, kind, said))
        parts.append(_text(middle, top + height - size - 5, short(value), "middle"))
        parts.append(_text(middle, top + height + 17, labels[place], "middle"))
    parts.append(f'<line class="axis" x1="0" x2="{wide}" y1="{top + height}" y2="{top + height}"/>')
    return _svg(wide, top + height + 24, parts, unit)


def short(number: float) -> str:
    """A number in at most five places: 512, 4,096, 382k.

    >>> short(4096), short(381_866)
    ('4,096', '382k')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= max(size, 1e4):
            return f"{number / size:.1f}{unit}" if number < 10 * size else f"{number / size:.0f}{unit}"
    return f"{number:,g}"


def _x(edges: Sequence[float], value: float, left: float, plot: float) -> float:
    share = (value - edges[0]) / (edges[-1] - edges[0])
    return left + plot * min(1.0, max(0.0, share))


def _place(edges: Sequence[float], number: int, left: float, plot: float) -> tuple[float, float]:
    """Where the bar `number` begins and how wide it is, a hair apart from the next."""
    step = plot / (len(edges) - 1)
    return left + number * step + 0.06 * step, 0.88 * step


def _stacks(
    group: dict[str, Any],
    edges: Sequence[float],
    top: float,
    height: float,
    most: int,
    left: float,
    plot: float,
) -> list[str]:
    kinds = group["similarity"]
    parts = []
    for number in range(len(edges) - 1):
        outside, band, fits = (kinds[kind][number] for kind in ("outside", "band", "fits"))
        x, wide = _place(edges, number, left, plot)
        said = f"{outside + band + fits:,} neighbours, {band + fits:,} in the band, {fits:,} acceptable"
        y = top + height
        bars = []
        for value, kind in ((fits, "fit"), (band, "in"), (outside, "out")):
            size = height * value / most
            y -= size
            if value:
                bars.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{size:.1f}"/>'
                )
        if bars:
            parts.append(f"<g>{_title(_span(edges, number, said))}{''.join(bars)}</g>")
    return parts


def _band(
    edges: Sequence[float],
    band: tuple[float, float],
    top: float,
    height: float,
    named: bool = False,
    left: float = LEFT,
    plot: float = PLOT,
) -> list[str]:
    """The band as a field behind the bars, its edges as lines where the axis shows them."""
    start, stop = (_x(edges, edge, left, plot) for edge in band)
    parts = [f'<rect class="kept" x="{start:.1f}" y="{top}" width="{stop - start:.1f}" height="{height}"/>']
    for edge, x, anchor, name in ((band[0], start, "start", "least"), (band[1], stop, "end", "greatest")):
        if edges[0] <= edge <= edges[-1]:
            parts.append(f'<line class="edge" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}"/>')
        if named:
            away = "" if edges[0] <= edge <= edges[-1] else ", beyond this axis"
            parts.append(_text(x, top - 8, f"{name} {edge:g}{away}", anchor, "mark"))
    return parts


def _grid(most: float, top: float, height: float, unit: str) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = top + height * (1 - share)
        parts.append(f'<line class="grid-line" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if share:
            parts.append(_text(LEFT - 8, y + 4, short(round(share * most)), "end"))
    parts.append(_text(LEFT - 8, top + height, "0", "end"))
    middle = top + height / 2
    parts.append(
        f'<text class="unit" text-anchor="middle" transform="translate(11 {middle:.0f}) rotate(-90)">'
        f"{escape(unit)}</text>"
    )
    return parts


def _axis(edges: Sequence[float], y: float) -> list[str]:
    """The axis of cosines, with about ten numbers."""
    parts = [f'<line class="axis" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>']
    span = edges[-1] - edges[0]
    step = next((step for step in (0.005, 0.01, 0.02, 0.05, 0.1) if span / step <= MOST_TICKS), 0.2)
    for number in range(math.ceil(edges[0] / step - 1e-6), math.floor(edges[-1] / step + 1e-6) + 1):
        tick = round(number * step, 4)
        parts.append(_text(_x(edges, tick, LEFT, PLOT), y + 17, f"{tick:g}", "middle"))
    return parts


def _span(edges: Sequence[float], number: int, said: str) -> str:
    return f"cosine {edges[number]:g} to {edges[number + 1]:g}: {said}"


def _bar(x: float, y: float, wide: float, size: float, kind: str, said: str) -> str:
    rect = f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{size:.1f}">'
    return f"{rect}{_title(said)}</rect>"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _svg(width: float, height: float, parts: list[str], named: str) -> Markup:
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(named)}">'
    return Markup(head + "".join(parts) + "</svg>")
