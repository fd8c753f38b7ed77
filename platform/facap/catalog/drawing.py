"""Product pictures of the demo catalogue: a garment seen in a view -> SVG -> RGB pixels.

A garment fixes what is worn; a `View` fixes everything else (set, light, pose, noise), so several
views of one garment are several photographs of one product. Equal inputs give equal pixels.

    >>> import random
    >>> from facap.catalog.garments import sample_garment
    >>> rng = random.Random(5)
    >>> render(sample_garment(rng), sample_view(rng), width=128).shape
    (160, 128, 3)

The picture is 256 x 320 in SVG px. The garment stays within the central 256 x 256, which is all
that a model with square input sees of it.
"""

import random
from dataclasses import dataclass, replace

import numpy as np
import pyvips

from facap.catalog import collars, studio, trims
from facap.catalog.garments import NONE, Garment
from facap.catalog.palette import HEX, lightness, seam
from facap.catalog.patterns import GRADIENTS, Box, material_texture, pattern_marks
from facap.catalog.silhouettes import Silhouette, silhouette

WIDTH_PX, HEIGHT_PX = 256, 320

pyvips.cache_set_max(0)  # no drawing is made twice


@dataclass(frozen=True)
class View:
    """How a garment is photographed."""

    backdrop: str = "studio"
    tint: str = studio.TINTS[0]
    form: str = studio.FORMS[0]  # colour of the mannequin
    brightness: float = 1.0
    warmth: float = 0.0  # -1 cool to 1 warm
    side_light: float = 0.0  # -1 from the left to 1 from the right
    shift_x: float = 0.0  # px
    shift_y: float = 0.0  # px
    scale: float = 1.0
    rotation: float = 0.0  # degrees
    mirrored: bool = False
    arm_spread: float = 0.0  # body units
    folds: int = 0  # seed of the fold lines
    noise: int = 0  # seed of the sensor noise
    grain: float = 2.0  # standard deviation of the noise, of 255


def sample_view(rng: random.Random) -> View:
    """A random view in which every attribute can be seen."""
    return View(
        backdrop=rng.choice(studio.BACKDROPS),
        tint=rng.choice(studio.TINTS),
        form=rng.choice(studio.FORMS),
        brightness=rng.uniform(0.86, 1.1),
        warmth=rng.uniform(-1, 1),
        side_light=rng.uniform(-1, 1),
        shift_x=rng.uniform(-9, 9),
        shift_y=rng.uniform(-8, 8),
        scale=rng.uniform(0.9, 1.05),
        rotation=rng.uniform(-4.5, 4.5),
        mirrored=rng.random() < 0.5,
        arm_spread=rng.uniform(-1, 6),
        folds=rng.randrange(2**16),
        noise=rng.randrange(2**32),
        grain=rng.uniform(1.0, 3.5),
    )


def render(garment: Garment, view: View, width: int = WIDTH_PX) -> np.ndarray:
    """The picture as uint8 RGB of shape (1.25 * width, width, 3)."""
    return _photographed(outlines(garment, view, width).astype(np.float32), view)


def outlines(garment: Garment, view: View, width: int, without: str = "") -> np.ndarray:
    """The drawing before light and noise, uint8 RGB of shape (1.25 * width, width, 3).

    `without` "closure" or "detail": as if this had come off the finished garment.
    """
    document = svg(garment, view, without).encode()
    return pyvips.Image.svgload_buffer(document, scale=width / WIDTH_PX).flatten().numpy()


def _photographed(drawn_HWC: np.ndarray, view: View) -> np.ndarray:
    """Light and sensor noise: colour cast, brightness falling off to one side, grain."""
    height, width, _ = drawn_HWC.shape
    downwards_H = np.linspace(1.06, 0.92, height, dtype=np.float32)
    cast = view.brightness * (1 + view.warmth * np.array([0.035, 0.0, -0.05], np.float32))
    across_W = 1 + 0.10 * view.side_light * np.linspace(-1, 1, width, dtype=np.float32)
    noise_HW = np.random.default_rng(view.noise).standard_normal((height, width), np.float32)
    drawn_HWC *= (downwards_H[:, None] * across_W)[:, :, None]
    drawn_HWC *= cast.astype(np.float32)
    drawn_HWC += (np.float32(view.grain) * noise_HW)[:, :, None]
    return np.clip(drawn_HWC, 0, 255, out=drawn_HWC).astype(np.uint8)


def svg(garment: Garment, view: View, without: str = "") -> str:
    """The drawing before light and noise, as an SVG document of 256 x 320; `without`: see outlines."""
    cut = silhouette(garment, view.arm_spread)
    flip = -view.scale if view.mirrored else view.scale
    pose = (
        f"translate({128 + view.shift_x:.2f} {160 + view.shift_y:.2f}) "
        f"rotate({view.rotation:.2f}) scale({flip:.3f} {view.scale:.3f}) translate(-128 -160)"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}">'
        f"{GRADIENTS}{studio.backdrop(view.backdrop, view.tint)}"
        f'<g transform="{pose}">{"".join(_layers(garment, view, cut, without))}</g></svg>'
    )


def _layers(garment: Garment, view: View, cut: Silhouette, without: str) -> list[str]:
    """The drawing from back to front."""
    first, second = HEX[garment.colour], HEX.get(garment.second_colour, "")
    outfit = garment.category == "outfit"
    lower_cloth = second if outfit else first
    folds = random.Random(view.folds)
    form = studio.mannequin(cut, view.form, view.arm_spread, stand=garment.category in ("top", "jacket"))
    layers = [studio.ground_shadow(cut), collars.behind(garment.neckline, cut.frame, first), form]
    if cut.lower:
        marks = "solid" if outfit else garment.pattern
        layers.append(_cloth("lower", [cut.lower], garment, marks, lower_cloth, second, folds))
        if not outfit:
            layers.append(_waistband(cut, lower_cloth))
        if garment.bottom == "pants" or garment.category == "pants":
            layers.append(_crease(cut, lower_cloth))
    if cut.body:
        layers.append(_cloth("body", [cut.body], garment, garment.pattern, first, second, folds))
    if garment.category == "jacket":
        layers.append(_jacket_front(garment, cut, first))
    if cut.sleeves:
        # The same marks as on the body, so that the print runs on.
        sleeves = list(cut.sleeves)
        pattern = "solid" if garment.pattern == "colour-block" else garment.pattern
        layers.append(_cloth("sleeves", sleeves, garment, pattern, first, second, folds))
        cuffs = f'<path d="{"".join(cut.cuffs)}" stroke="{seam(first)}" stroke-width="2.2"/>'
        layers.append(cuffs)
    if cut.body:
        layers.append(collars.in_front(garment.neckline, cut.frame, first))
    sewn_on = replace(garment, **{without: NONE}) if without else garment
    return layers + _trims(sewn_on, cut, first, lower_cloth)


def _cloth(
    name: str, outlines: list[str], garment: Garment, pattern: str, base: str, marks: str,
    folds: random.Random,
) -> str:  # fmt: skip
    """Filled outlines with pattern, texture, folds and an edge."""
    box = _box_around(outlines)
    data = "".join(outlines)
    stitches = ""
    if garment.material == "denim":
        thread = "#f0a23c" if lightness(base) < 0.6 else "#b4601c"
        stitches = (
            f'<path d="{data}" fill="none" stroke="{thread}" stroke-width="7"/>'
            f'<path d="{data}" fill="none" stroke="{base}" stroke-width="3.4"/>'
        )
    return (
        f'<clipPath id="{name}"><path d="{data}" shape-rendering="crispEdges"/></clipPath>'
        f'<g clip-path="url(#{name})" shape-rendering="crispEdges"><path d="{data}" fill="{base}"/>'
        f"{pattern_marks(pattern, box, marks)}{material_texture(garment.material, box)}"
        f"{_folds(box, folds)}{stitches}</g>"
        f'<path d="{data}" fill="none" stroke="{seam(base)}" stroke-width="1.6" '
        f'stroke-linejoin="round"/>'
    )


def _box_around(outlines: list[str]) -> Box:
    """The bounding box of path data whose coordinates are all absolute, a little enlarged."""
    numbers = "".join(c if c in "0123456789.-" else " " for c in "".join(outlines)).split()
    xs, ys = [float(n) for n in numbers[0::2]], [float(n) for n in numbers[1::2]]
    return Box(round(min(xs)) - 2, round(min(ys)) - 2, round(max(xs)) + 2, round(max(ys)) + 2)


def _folds(box: Box, rng: random.Random) -> str:
    """A few soft creases that fan out downwards, and shade on one side."""
    width, height = box.right - box.left, box.bottom - box.top
    creases = ""
    for _ in range(4):
        share = rng.uniform(0.12, 0.88)
        x, y = box.left + share * width, box.top + rng.uniform(0.35, 0.6) * height
        reach, lean = rng.uniform(0.3, 0.5) * height, (share - 0.5) * 0.3 * width
        creases += (
            f"M{x:.1f},{y:.1f}q{lean * 0.2:.1f},{reach * 0.5:.1f} {lean:.1f},{reach:.1f}"
            f"l6,0q{-2 - lean * 0.8:.1f},{-reach * 0.5:.1f} {-6 - lean:.1f},{-reach:.1f}z"
        )
    return (
        f'<path d="{creases}" fill="#000" fill-opacity=".10"/>'
        f'<path d="M{box.right},{box.top}V{box.bottom}H{box.right - 0.2 * width:.1f}'
        f"Q{box.right - 0.12 * width:.1f},{box.top + height / 2:.1f} "
        f'{box.right - 0.14 * width:.1f},{box.top}z" fill="#000" fill-opacity=".07"/>'
    )


def _waistband(cut: Silhouette, cloth: str) -> str:
    left, right = cut.frame.x(-28), cut.frame.x(28)
    top = cut.frame.y(126)
    return (
        f'<path d="M{left:.1f},{top:.1f}H{right:.1f}l1.5,10H{left - 1.5:.1f}z" fill="{cloth}" '
        f'stroke="{seam(cloth)}" stroke-width="1.5"/>'
    )


def _crease(cut: Silhouette, cloth: str) -> str:
    """The centre seam of pants, down to the crotch."""
    start, end = cut.frame.at(0, 127), cut.frame.at(0, 172)
    return f'<path d="M{start}L{end}" stroke="{seam(cloth)}" stroke-width="1.6"/>'


def _jacket_front(garment: Garment, cut: Silhouette, cloth: str) -> str:
    """The shirt under lapels, and the front edges: apart unless something closes them."""
    shirt = "#f4f1ea" if lightness(cloth) < 0.7 else "#4b4f58"
    frame, hem = cut.frame, cut.hems[0].y
    drawing = ""
    if garment.neckline == "lapel":
        drawing += f'<path d="M{frame.at(-14, 63)}L{frame.at(0, 106)}L{frame.at(14, 63)}z" fill="{shirt}"/>'
    top = frame.y({"lapel": 96.0, "stand": 72.0}.get(garment.neckline, 80.0))
    if garment.closure == NONE:
        return drawing + (
            f'<path d="M126,{top:.1f}L118,{hem + 4:.1f}H138L130,{top:.1f}z" fill="{shirt}" '
            f'stroke="{seam(cloth)}" stroke-width="2"/>'
        )
    return drawing + (f'<path d="M128,{top:.1f}V{hem + 3:.1f}" stroke="{seam(cloth)}" stroke-width="1.6"/>')


# Where a closure down the front starts, in body units, below each neckline.
_FRONT_TOP_Y = {"round": 86.0, "v-neck": 98.0, "square": 90.0, "high": 74.0, "collared": 82.0,
                "lapel": 107.0, "hooded": 86.0, "stand": 77.0}  # fmt: skip


def _trims(garment: Garment, cut: Silhouette, upper: str, lower: str) -> list[str]:
    frame = cut.frame
    if cut.body:
        top, bottom = frame.y(_FRONT_TOP_Y[garment.neckline]), cut.body_hem_y
        if garment.category == "dress":
            bottom = min(cut.body_hem_y, frame.y(172))
    else:
        top = frame.y(128)
        bottom = frame.y(168) if garment.category == "pants" else cut.hems[0].y
    drawn = []
    hem_cloth = lower if cut.lower else upper
    if garment.detail == "ruffle":
        drawn.append(trims.ruffle(cut.hems, hem_cloth))
    elif garment.detail == "fringe":
        drawn.append(trims.fringe(cut.hems, hem_cloth))
    elif garment.detail == "pockets":
        y, offset = _pocket_place(garment, cut)
        drawn.append(trims.pockets(y, offset, hem_cloth))
    closing = upper if cut.body else lower
    drawn.append(trims.closure(garment.closure, top, bottom, cut.waist, closing))
    if garment.detail == "bow":
        x, y = (-19.0, 104.0) if cut.body else (-19.0, 145.0)
        drawn.append(trims.bow(frame.x(x), frame.y(y), closing))
    return drawn


def _pocket_place(garment: Garment, cut: Silhouette) -> tuple[float, float]:
    """Top of the pockets and their distance from the centre line, px."""
    frame = cut.frame
    if garment.category in ("top", "jacket") and garment.length == "cropped":
        return frame.y(96), frame.zoom_x * 17
    return frame.y({"top": 128.0, "jacket": 132.0}.get(garment.category, 146.0)), frame.zoom_x * 20
