"""ICC profiles for tests, made from colorants and curves and called whatever one likes; and what they mean.

profile(P3, SRGB_CURVE, "sRGB")         # Display P3 that calls itself sRGB
in_srgb((234, 51, 35), P3, SRGB_CURVE)  # (255, 0, 0)
"""

import struct
from collections.abc import Sequence

import numpy as np

Colorants = tuple[tuple[float, float, float], ...]  # X, Y, Z of red, green, blue, as adapted to D50
SRGB: Colorants = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3: Colorants = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE: Colorants = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR = (1.0,)


def linear(value: np.ndarray, curve: Sequence[float]) -> np.ndarray:
    """What a curve makes of 0 to 1; `curve` is a gamma, or g, a, b, c, d."""
    if len(curve) == 1:
        return value ** curve[0]
    g, a, b, c, d = curve
    return np.where(value < d, c * value, (a * value + b) ** g)


def in_srgb(colour: Sequence[int], colorants: Colorants, curve: Sequence[float]) -> tuple[int, ...]:
    """A colour (0 to 255) of the profile as sRGB has it, by the textbook."""
    xyz = np.array(colorants).T @ linear(np.array(colour) / 255, curve)
    light = np.linalg.solve(np.array(SRGB).T, xyz).clip(0, 1)
    back = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return tuple(np.rint(255 * back).astype(int).tolist())


def profile(
    colorants: Colorants | None, curve: Sequence[float], text: str, version: int = 4, points: int = 0
) -> bytes:
    """`colorants` None: a profile for greys. `points`: the curve as so many samples, not as a formula."""
    curve_tag = _curve(curve, version, points)
    tags = [(b"desc", _text(text, version)), (b"cprt", _text("none", version)), (b"wtpt", _xyz(WHITE))]
    if colorants is None:
        tags.append((b"kTRC", curve_tag))
    else:
        tags += [(name, _xyz(xyz)) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)]
        tags += [(name, curve_tag) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags:
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    space = b"GRAY" if colorants is None else b"RGB "
    head = struct.pack(">I4xBBH", start + len(body), version, 0, 0) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(WHITE)[8:]
    return head.ljust(128, b"\0") + table + body


WHITE = (0.9642, 1.0, 0.82491)  # D50


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _curve(curve: Sequence[float], version: int, points: int) -> bytes:
    if points or (version < 4 and len(curve) > 1):
        values = linear(np.linspace(0, 1, points or 1024), curve)
        return (
            b"curv\0\0\0\0"
            + struct.pack(">I", len(values))
            + (65535 * values).round().astype(">u2").tobytes()
        )
    if version < 4:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * curve[0]))
    kind = 3 if len(curve) > 1 else 0
    return (
        b"para\0\0\0\0"
        + struct.pack(">HH", kind, 0)
        + b"".join(struct.pack(">i", round(65536 * v)) for v in curve)
    )


def _text(text: str, version: int) -> bytes:
    if version < 4:
        plain = text.encode("ascii", "replace") + b"\0"
        return b"desc\0\0\0\0" + struct.pack(">I", len(plain)) + plain + bytes(78)
    wide = text.encode("utf-16-be", "replace")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(wide), 28) + wide
