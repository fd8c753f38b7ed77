"""What surrounds a neckline: collars, lapels, hoods and the edge of a plain opening. SVG."""

from facap.catalog.frame import Frame
from facap.catalog.palette import seam, shade, toned


def behind(neckline: str, frame: Frame, cloth: str) -> str:
    """The part that lies behind the neck: the back of a hood, the inside of a collar."""
    at = frame.at
    inside = shade(cloth, 0.55)
    if neckline == "hooded":
        hood = (
            f"M{at(-28, 76)}C{frame.points([(-38, 34), (-16, 28), (0, 28)])}"
            f"C{frame.points([(16, 28), (38, 34), (28, 76)])}z"
        )
        hollow = (
            f"M{at(-20, 74)}C{frame.points([(-26, 42), (-10, 37), (0, 37)])}"
            f"C{frame.points([(10, 37), (26, 42), (20, 74)])}z"
        )
        return (
            f'<path d="{hood}" fill="{cloth}" stroke="{seam(cloth)}" stroke-width="1.5"/>'
            f'<path d="{hollow}" fill="{inside}"/>'
        )
    if neckline in ("collared", "lapel", "stand"):
        return (
            f'<path d="M{at(-15, 66)}L{at(-13, 56)}Q{at(0, 60)} {at(13, 56)}L{at(15, 66)}z" fill="{inside}"/>'
        )
    return ""


def in_front(neckline: str, frame: Frame, cloth: str) -> str:
    """The part that lies on the garment."""
    at, both = frame.at, (-1, 1)
    edge = f'stroke="{seam(cloth)}" stroke-width="1.5" stroke-linejoin="round"'
    trim = f'fill="{toned(cloth)}" stroke="{seam(toned(cloth))}" stroke-width="1.4"'
    if neckline == "high":
        tube = (
            f"M{at(-15, 68)}L{at(-13, 48)}Q{at(0, 52)} {at(13, 48)}L{at(15, 68)}Q{at(0, 75)} {at(-15, 68)}z"
        )
        fold = f"M{at(-14, 57)}Q{at(0, 62)} {at(14, 57)}"
        return f'<path d="{tube}" {trim}/><path d="{fold}" fill="none" {edge}/>'
    if neckline == "collared":
        return "".join(
            f'<path d="M{at(s * 13, 55)}L{at(s * 19, 65)}L{at(s * 17, 86)}L{at(0, 78)}'
            f'Q{at(s * 9, 68)} {at(s * 13, 55)}z" {trim} stroke-linejoin="round"/>'
            for s in both
        )
    if neckline == "lapel":
        return "".join(
            f'<path d="M{at(s * 13, 55)}L{at(s * 20, 66)}L{at(s * 26, 77)}L{at(s * 19, 79)}'
            f'L{at(s * 26, 85)}L{at(0, 108)}Q{at(s * 10, 82)} {at(s * 13, 55)}z" {trim} '
            f'stroke-linejoin="round"/>'
            for s in both
        )
    if neckline == "stand":
        return "".join(
            f'<path d="M{at(s * 15, 50)}L{at(s * 19, 68)}Q{at(s * 10, 75)} {at(s * 1, 77)}'
            f'L{at(s * 3, 60)}Q{at(s * 10, 57)} {at(s * 15, 50)}z" {trim}/>'
            for s in both
        )
    if neckline == "hooded":
        rims = "".join(
            f"M{at(s * 24, 64)}Q{at(s * 22, 82)} {at(0, 84)}L{at(0, 74)}Q{at(s * 14, 72)} {at(s * 16, 60)}z"
            for s in both
        )
        cords = "".join(f"M{at(s * 8, 82)}L{at(s * 9, 108)}" for s in both)
        return (
            f'<path d="{rims}" fill="{cloth}" {edge}/><path d="{cords}" stroke="#4a4036" '
            f'stroke-width="4"/><path d="{cords}" stroke="#f6efe2" stroke-width="2.6"/>'
        )
    opening = {
        "round": f"M{at(-20, 63)}C{frame.points([(-19, 91), (19, 91), (20, 63)])}",
        "v-neck": f"M{at(-19, 63)}L{at(0, 97)}L{at(19, 63)}",
        "square": f"M{at(-22, 63)}L{at(-20, 88)}L{at(20, 88)}L{at(22, 63)}",
    }.get(neckline)
    if opening is None:
        return ""
    return (
        f'<path d="{opening}" fill="none" stroke="{seam(toned(cloth))}" stroke-width="6"/>'
        f'<path d="{opening}" fill="none" stroke="{toned(cloth)}" stroke-width="4.2"/>'
    )
