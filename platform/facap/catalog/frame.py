"""Where the body that wears the garments lies in the picture, and curves through its points.

Garments are laid out on one body, in body units (bu): x is 0 on the centre line and positive to
the right, y grows downwards. A `Frame` maps them to px of the 256 x 320 picture.

    >>> Frame(zoom_x=1.0, zoom_y=2.0, middle_y=150.0).at(10, 151)
    '138.0,162.0'
"""

from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
CENTRE_X_PX, CENTRE_Y_PX = 128.0, 160.0


@dataclass(frozen=True)
class Frame:
    """The mapping from body units to pixels of the 256 x 320 picture."""

    zoom_x: float
    zoom_y: float
    middle_y: float

    def x(self, x: float) -> float:
        return CENTRE_X_PX + self.zoom_x * x

    def y(self, y: float) -> float:
        return CENTRE_Y_PX + self.zoom_y * (y - self.middle_y)

    def at(self, x: float, y: float) -> str:
        """A point as SVG path data, in px."""
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def points(self, points: Sequence[Point]) -> str:
        return " ".join(self.at(*point) for point in points)

    def smooth(self, points: Sequence[Point]) -> str:
        """Path data of a curve from the first point, where the pen already is, through all the
        others (a Catmull-Rom spline)."""
        padded = [points[0], *points, points[-1]]
        data = []
        for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
            leave = (start[0] + (end[0] - before[0]) / 6, start[1] + (end[1] - before[1]) / 6)
            arrive = (end[0] - (after[0] - start[0]) / 6, end[1] - (after[1] - start[1]) / 6)
            data.append("C" + self.points([leave, arrive, end]))
        return "".join(data)


@dataclass(frozen=True)
class Hem:
    """A lower edge, in px."""

    left: float
    right: float
    y: float
