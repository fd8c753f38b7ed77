"""What the names of colours look like, and shades of them for seams and trims.

>>> shade("#808080", 0.5), shade("#808080", 1.5)
('#404040', '#bfbfbf')
"""

HEX = {
    "black": "#232327",
    "white": "#f7f5f0",
    "grey": "#8b8f96",
    "navy": "#1f2f66",
    "blue": "#3f8ae0",
    "red": "#cc2431",
    "pink": "#f49ab9",
    "green": "#2f8f50",
    "yellow": "#f5cf36",
    "orange": "#ee7c22",
    "purple": "#7d42a6",
    "beige": "#d9bf96",
    "brown": "#774729",
}


def shade(colour: str, factor: float) -> str:
    """`colour` darker (factor below 1, towards black) or lighter (above 1, towards white)."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if factor <= 1:
        mixed = [channel * factor for channel in channels]
    else:
        mixed = [channel + (255 - channel) * (factor - 1) for channel in channels]
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed)


def lightness(colour: str) -> float:
    """Perceived lightness from 0 (black) to 1 (white), by the luma weights of Rec. 601."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def seam(colour: str) -> str:
    """The colour of outlines and seams on `colour`: darker, but lighter on near-black."""
    return shade(colour, 1.28) if lightness(colour) < 0.22 else shade(colour, 0.62)


def toned(colour: str) -> str:
    """A clearly different shade of the same hue, for trims of the garment's own cloth."""
    return shade(colour, 1.42) if lightness(colour) < 0.45 else shade(colour, 0.74)
