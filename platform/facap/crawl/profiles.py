"""Colours that a file declares without a colour profile -> the profile that says the same.

    >>> matrix_profile(P3, WHITE, SRGB_CURVE)[12:24]
    b'mntrRGB XYZ '

PNG has cICP, sRGB, and gAMA with or without cHRM; AVIF has a `colr` box of the kind nclx. They are followed
where Chromium follows them, and in its order. High dynamic range (PQ, HLG) is left as it is.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

WHITE = (0.3127, 0.3290)  # D65
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # x, y of red, green, blue
P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
BT2020 = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # as ICC's parametric curves have it
PRIMARIES = {1: SRGB, 9: BT2020, 12: P3}  # by their numbers in ITU-T H.273
CURVES = {number: SRGB_CURVE for number in (1, 6, 13, 14, 15)} | {4: (2.2,), 5: (2.8,), 8: (1.0,)}
SRGB_GAMMA = 0.45455  # what PNG writers say and mean sRGB by
NEAR = 0.05  # share of it

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_HEAD_BYTES = 64 * 1024  # in which an AVIF describes itself

Point = tuple[float, float]


def profile_of(source: Image.Image, data: bytes) -> bytes | None:
    """The colour profile of the opened picture `source`, or the one that amounts to what it declares."""
    embedded = source.info.get("icc_profile")
    if source.format == "AVIF":
        at = data.find(b"colrnclx", 0, _HEAD_BYTES)
        return embedded or (None if at < 0 else _by_number(*struct.unpack_from(">HH", data, at + 8)))
    if source.format != "PNG":
        return embedded
    declared = _png_chunk(data, b"cICP")
    if declared is not None and len(declared) == 4:
        return _by_number(*declared[:2])
    gamma = source.info.get("gamma")
    if embedded or "srgb" in source.info or not gamma:
        return embedded
    curve = SRGB_CURVE if abs(gamma / SRGB_GAMMA - 1) < NEAR else (1 / gamma,)
    points = source.info.get("chromaticity", (*WHITE, *SRGB[0], *SRGB[1], *SRGB[2]))
    white, *primaries = zip(points[::2], points[1::2], strict=True)
    return matrix_profile(tuple(primaries), white, curve)


@lru_cache(64)
def matrix_profile(primaries: tuple[Point, ...], white: Point, curve: tuple[float, ...]) -> bytes | None:
    """An ICC profile of primaries (x, y) and a curve, a gamma or g, a, b, c, d; None if there can be none."""
    try:
        columns_33 = np.array([_xyz(point) for point in primaries]).T
        white_3 = np.array(_xyz(white))
        columns_33 = columns_33 * np.linalg.solve(columns_33, white_3)
        adapted = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white_3))
        columns_33 = np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ columns_33
        drawn = b"para" + struct.pack(">IHH", 0, 3 if len(curve) > 1 else 0, 0) + _fixed(curve)
        colorants = [b"XYZ \0\0\0\0" + _fixed(column_3) for column_3 in columns_33.T]
    except (ArithmeticError, np.linalg.LinAlgError, struct.error, ValueError):
        return None
    text = b"mluc" + struct.pack(">7I", 0, 1, 12, 0x656E5553, 2, 28, 0x78 << 16)
    tags = [
        (b"desc", text), (b"cprt", text), (b"wtpt", b"XYZ \0\0\0\0" + _fixed(_D50)),
        *zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True),
        *((name, drawn) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]  # fmt: skip
    return _icc(tags)


def _icc(tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags:
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4xI", start + len(body), 0x04300000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + _fixed(_D50)
    return head.ljust(128, b"\0") + table + body


def _fixed(values: Sequence[float]) -> bytes:
    """As ICC's s15Fixed16Number."""
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _xyz(point: Point) -> tuple[float, float, float]:
    x, y = point
    return x / y, 1.0, (1 - x - y) / y


def _by_number(primaries: int, curve: int) -> bytes | None:
    if primaries not in PRIMARIES or curve not in CURVES:
        return None
    return matrix_profile(PRIMARIES[primaries], WHITE, CURVES[curve])


def _png_chunk(data: bytes, name: bytes) -> bytes | None:
    """A chunk that stands before the pixels."""
    at = 8
    while at + 8 <= len(data) and data[at + 4 : at + 8] not in (b"IDAT", name):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    if data[at + 4 : at + 8] != name:
        return None
    return data[at + 8 : at + 8 + int.from_bytes(data[at : at + 4], "big")]
