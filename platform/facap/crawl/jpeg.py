"""The size of an everyday JPEG, from its frame header alone.

    >>> plain_size(body)                # doctest: +SKIP
    (400, 533)

Most pictures of shops are baseline JPEGs that say nothing on orientation or colours. Of these a walk over a
handful of segments tells all that opening them with Pillow would, in a tenth of the time.
"""

APP1, APP2, SOF0, SOS = 0xE1, 0xE2, 0xC0, 0xDA  # EXIF and XMP; colour profiles; baseline frame; scan
COLOURS = 3


def plain_size(data: bytes) -> tuple[int, int] | None:
    """(width, height), px, of a baseline JPEG with all colours in one scan, without EXIF and profile.

    None for any other picture, and wherever there is a doubt.
    """
    if data[:2] != b"\xff\xd8":
        return None
    size = None
    at, last = 2, len(data) - 10
    while at < last and data[at] == 0xFF:
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
