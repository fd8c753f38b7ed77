"""Closures and decorations: what is sewn onto a garment. SVG, px of the 256 x 320 picture.

Hardware contrasts with the cloth whatever its colour, and every value has a shape of its own:
round buttons on a placket, a toothed zip with a ring, a belt band with a buckle; flapped
pockets, a scalloped ruffle, a bow to one side, hanging fringe.
"""

from facap.catalog.frame import Hem
from facap.catalog.palette import lightness, seam, shade, toned


def closure(kind: str, top: float, bottom: float, waist: Hem, cloth: str) -> str:
    """A closure down the centre front from `top` to `bottom`, or a belt at the waist."""
    if kind == "buttons":
        return _buttons(top, bottom, cloth)
    if kind == "zip":
        return _zip(top, bottom)
    if kind == "belt":
        return _belt(waist, cloth)
    return ""


def _buttons(top: float, bottom: float, cloth: str) -> str:
    placket = toned(cloth)
    light = lightness(placket) < 0.5
    button, edge = ("#fbf1d6", "#6d5330") if light else ("#3f2a1c", "#1f130b")
    number = max(3, min(7, round((bottom - top) / 20)))
    step = (bottom - top) / number
    discs = "".join(f'<circle cx="128" cy="{top + (i + 0.5) * step:.1f}" r="4.9"/>' for i in range(number))
    return (
        f'<path d="M120,{top:.1f}V{bottom:.1f}H136V{top:.1f}z" fill="{placket}" '
        f'stroke="{seam(placket)}" stroke-width="1.3"/>'
        f'<g fill="{button}" stroke="{edge}" stroke-width="1.2">{discs}</g>'
    )


def _zip(top: float, bottom: float) -> str:
    return (
        f'<path d="M128,{top:.1f}V{bottom:.1f}" stroke="#26262b" stroke-width="11"/>'
        f'<path d="M128,{top:.1f}V{bottom:.1f}" stroke="#e3e6ea" stroke-width="6" '
        f'stroke-dasharray="2.2 2"/>'
        f'<path d="M124.5,{top + 2:.1f}h7v9h-7z" fill="#f2f4f6" stroke="#4b4f57"/>'
        f'<g fill="none"><circle cx="128" cy="{top + 17:.1f}" r="5" stroke="#4b4f57" '
        f'stroke-width="5"/><circle cx="128" cy="{top + 17:.1f}" r="5" stroke="#eef0f3" '
        f'stroke-width="2.8"/></g>'
    )


def _belt(waist: Hem, cloth: str) -> str:
    dark = lightness(cloth) > 0.33
    leather = "#3a2417" if dark else "#c98f52"
    left, right, y = waist.left - 2, waist.right + 2, waist.y
    return (
        f'<path d="M{left:.1f},{y - 6.5:.1f}Q128,{y - 3:.1f} {right:.1f},{y - 6.5:.1f}'
        f'V{y + 6.5:.1f}Q128,{y + 10:.1f} {left:.1f},{y + 6.5:.1f}z" fill="{leather}" '
        f'stroke="{shade(leather, 0.6)}"/>'
        f'<rect x="118.5" y="{y - 7:.1f}" width="19" height="17.5" rx="3" fill="{leather}" '
        f'stroke="#8a6420" stroke-width="5"/>'
        f'<rect x="118.5" y="{y - 7:.1f}" width="19" height="17.5" rx="3" fill="none" '
        f'stroke="#f2cf6b" stroke-width="3.4"/>'
        f'<path d="M128,{y + 1.8:.1f}h9" stroke="#f2cf6b" stroke-width="2.4"/>'
    )


def pockets(y: float, offset: float, cloth: str) -> str:
    """Two patch pockets with flaps whose top is at `y`, `offset` px from the centre line."""
    patch, line = toned(cloth), seam(toned(cloth))
    return "".join(
        f'<path d="M{x - 11:.1f},{y:.1f}h22v18q0,4 -4,5h-14q-4,-1 -4,-5z" fill="{patch}" '
        f'stroke="{line}" stroke-width="1.5"/>'
        f'<path d="M{x - 12.5:.1f},{y - 2:.1f}h25v7l-12.5,4.5l-12.5,-4.5z" fill="{patch}" '
        f'stroke="{line}" stroke-width="1.7"/><circle cx="{x:.1f}" cy="{y + 4:.1f}" r="1.8" '
        f'fill="{line}"/>'
        for x in (128 - offset, 128 + offset)
    )


def ruffle(hems: tuple[Hem, ...], cloth: str) -> str:
    """Two tiers of scallops along the hems."""
    frill = toned(cloth)
    drawing = ""
    flare = 5.0 if len(hems) == 1 else 2.0  # the two legs of pants stay apart
    for hem in hems:
        for drop, grow in ((0.0, flare), (-9.0, flare * 0.4)):
            left, right = hem.left - grow, hem.right + grow
            number = max(2, round((right - left) / 12))
            width = (right - left) / number
            scallops = f"q{-width / 2:.2f},9 {-width:.2f},0" * number
            drawing += (
                f'<path d="M{left + grow:.1f},{hem.y + drop - 9:.1f}H{right - grow:.1f}'
                f'L{right:.1f},{hem.y + drop + 2:.1f}{scallops}z" fill="{frill}" '
                f'stroke="{seam(frill)}" stroke-width="1.3" stroke-linejoin="round"/>'
            )
            gathers = "".join(
                f"M{left + (i + 0.5) * width:.1f},{hem.y + drop - 7:.1f}v8" for i in range(number)
            )
            drawing += f'<path d="{gathers}" stroke="{seam(frill)}" stroke-width="1"/>'
    return drawing


def fringe(hems: tuple[Hem, ...], cloth: str) -> str:
    """Strands that hang from a band at the hems."""
    thread, drawing = toned(cloth), ""
    for hem in hems:
        number = int((hem.right - hem.left - 2) / 5) + 1
        strands = "".join(
            f"M{hem.left + 2 + i * 5:.1f},{hem.y - 6:.1f}l{(i % 3 - 1) * 1.2:.1f},{17 + i % 2 * 3}"
            for i in range(number)
        )
        drawing += (
            f'<path d="{strands}" stroke="{seam(thread)}" stroke-width="3.2"/>'
            f'<path d="{strands}" stroke="{thread}" stroke-width="2"/>'
            f'<path d="M{hem.left:.1f},{hem.y - 8:.1f}H{hem.right:.1f}" stroke="{thread}" '
            f'stroke-width="5"/>'
        )
    return drawing


def bow(x: float, y: float, cloth: str) -> str:
    """A bow with tails, about 40 px wide, whose knot is at (x, y)."""
    ribbon = toned(cloth)
    return (
        f'<g transform="translate({x:.1f} {y:.1f})" fill="{ribbon}" stroke="{seam(ribbon)}" '
        f'stroke-width="1.5" stroke-linejoin="round"><path d="M-1,2l-11,21l7,-2l3,6l5,-24z"/>'
        f'<path d="M1,2l9,21l-6,-3l-4,5l-3,-22z"/>'
        f'<path d="M0,0C-8,-15 -22,-14 -21,-4C-22,9 -8,10 0,0z"/>'
        f'<path d="M0,0C8,-15 22,-14 21,-4C22,9 8,10 0,0z"/>'
        f'<path d="M-6,-2l-8,-2M6,-2l8,-2" fill="none"/>'
        f'<rect x="-4.5" y="-5" width="9" height="9.5" rx="3"/></g>'
    )
