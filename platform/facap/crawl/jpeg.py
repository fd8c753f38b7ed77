"""JPEGs by their segments: the size of an everyday one, and any one without what is not the picture.

    >>> plain_size(body)                # doctest: +SKIP
    (400, 533)
    >>> take_apart(body).bare           # doctest: +SKIP
    b'\\xff\\xd8\\xff\\xe0\\x00\\x10JFIF...'

Most pictures of shops are baseline JPEGs that say nothing on orientation or colours. Of these a walk over a
handful of segments tells all that opening them with Pillow would, in a tenth of the time.

Phones append videos, depth maps and further pictures, and some leave the end marker (EOI) out. So a picture
is held to end with the scan that completes it, whatever stands behind.
"""

import re
from dataclasses import dataclass

APP0, APP1, APP2, APP14 = 0xE0, 0xE1, 0xE2, 0xEE  # JFIF; EXIF and XMP; colour profiles; Adobe's colour model
SOF0, SOS, SOI, EOI = 0xC0, 0xDA, 0xD8, 0xD9  # baseline frame; scan; start and end of a picture
DHT, JPG, DAC, DQT, DRI = 0xC4, 0xC8, 0xCC, 0xDB, 0xDD
FRAMES = set(range(SOF0, 0xD0)) - {DHT, JPG, DAC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
NEEDED = FRAMES | {DHT, DAC, DQT, DRI}  # for decoding, beside scans and the two below
COLOURS = 3
START, END = b"\xff\xd8", b"\xff\xd9"
MAX_SCANS = 32  # progressive ones have about ten, and each costs a walk over the whole picture
MAX_SEGMENTS = 4096  # depth maps come as hundreds
PLAIN_SEGMENTS = 64

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # restart markers belong to the scan
_EVERYTHING = 2**64 - 1  # a bit for each coefficient of a block


@dataclass(frozen=True)
class Jpeg:
    """A JPEG taken apart.

    `bare`: what decoding needs and nothing else, from SOI to EOI. `ended`: whether EOI stood where the
    picture ends; if not, the last scan may lack data or have a trailer's. `exif`, `profile`: as they came.
    """

    bare: bytes
    ended: bool
    exif: bytes | None
    profile: bytes | None


def is_jpeg(data: bytes) -> bool:
    """Whether the bytes begin as a JPEG does."""
    return data[:3] == b"\xff\xd8\xff"


def plain_size(data: bytes) -> tuple[int, int] | None:
    """(width, height), px, of a baseline JPEG with all colours in one scan, without EXIF and profile.

    None for any other picture, and wherever there is a doubt.
    """
    if data[:2] != START:
        return None
    size = None
    at, last = 2, len(data) - 10
    for _ in range(PLAIN_SEGMENTS):
        if at >= last or data[at] != 0xFF:
            return None
        kind, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if kind == SOS:
            return size if data[at + 4] == COLOURS else None
        if kind in (APP1, APP2) or (kind == SOF0 and size is not None):
            return None
        if kind == SOF0:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            if data[at + 9] != COLOURS or not width or not height:
                return None
            size = width, height
        at += 2 + length
    return None


def take_apart(data: bytes) -> Jpeg:
    """The first picture in `data`, which begins as a JPEG does.

    Raises ValueError if a scan is missing, or if there are more than MAX_SCANS or MAX_SEGMENTS.
    """
    kept, missing, exif, profile = [START], _Missing(), None, dict[int, bytes]()
    at, scans, ended = len(START), 0, False
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None:
            break
        start, kind = marker.start(), data[marker.end() - 1]
        if kind in (SOI, EOI):
            ended = kind == EOI
            break
        at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if at > len(data) or at < start + 4:
            break
        body = data[start + 4 : at]
        if kind == SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"over {MAX_SCANS} scans")
            after = _AFTER_SCAN.search(data, at)
            at = after.start() if after else len(data)
            kept.append(data[start:at].rstrip(b"\xff"))  # which only fills up, or is half of EOI
            missing.take(body)
            if not missing:
                ended = data[at : at + 2] == END
                break
        elif kind in NEEDED:
            kept.append(data[start:at])
            if kind in FRAMES:
                missing = _Missing(kind, body)
        elif kind == APP0 and body[:5] == b"JFIF\0" and len(body) >= 14:
            kept.append(b"\xff\xe0\x00\x10" + body[:12] + b"\0\0")  # without its thumbnail
        elif kind == APP14 and body[:5] == b"Adobe" and len(body) >= 12:
            kept.append(b"\xff\xee\x00\x0e" + body[:12])
        elif kind == APP1 and body[:5] == b"Exif\0" and exif is None and not scans:
            exif = body
        elif kind == APP2 and body[:12] == b"ICC_PROFILE\0" and len(body) > 14 and not scans:
            profile.setdefault(body[12], body)
    else:
        raise ValueError(f"over {MAX_SEGMENTS} segments")
    if not scans or (missing and not ended):
        raise ValueError(f"truncated: the data ends after {scans} scans, and the picture has more")
    return Jpeg(b"".join([*kept, END]), ended, exif, _joined(profile))


class _Missing:
    """What a frame's scans have not brought yet: coefficients, by component; false when all came."""

    def __init__(self, kind: int = SOF0, frame: bytes = b"") -> None:
        self._progressive = kind in PROGRESSIVE
        ids = frame[6 : 6 + 3 * frame[5] : 3] if len(frame) > 5 else b"\0"
        self._left = dict.fromkeys(ids, _EVERYTHING)

    def take(self, scan: bytes) -> None:
        """`scan`: the header of one that came."""
        end = 1 + 2 * scan[0]
        came = _EVERYTHING
        if self._progressive:
            first, last, precision = scan[end : end + 3]
            came = 0 if precision & 15 else (2 << last) - (1 << first)  # else more of their bits are to come
        for component in scan[1:end:2]:
            self._left[component] = self._left.get(component, 0) & ~came

    def __bool__(self) -> bool:
        return any(self._left.values())


def _joined(chunks: dict[int, bytes]) -> bytes | None:
    """The colour profile, if all its segments are there."""
    if not chunks or any(sorted(chunks) != list(range(1, body[13] + 1)) for body in chunks.values()):
        return None
    return b"".join(chunks[number][14:] for number in sorted(chunks))
