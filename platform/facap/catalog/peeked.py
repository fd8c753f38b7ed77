"""A stream of bytes whose beginning can be looked at before it is read.

    >>> file = Peeked(iter([b"<?x", b"ml?>"]))
    >>> file.head(4), file.read1(100), file.read1(100)
    (b'<?xm', b'<?xml?>', b'')

If the stream breaks, all that came before is given out first, and then the BrokenSource is raised.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

from facap.catalog.lines import READ_BYTES, BrokenSource


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """A file in pieces of at most READ_BYTES."""
    read = getattr(file, "read1", file.read)  # `read` would drop what it has when the source breaks
    return iter(lambda: read(READ_BYTES), b"")


class Peeked(io.BufferedIOBase):
    """Reads on from `pieces`; holds one of them, or as much as was looked at."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""
        self._broken: BrokenSource | None = None

    def head(self, size: int) -> bytes:
        """The next `size` bytes, which stay to be read; fewer where the stream ends or breaks."""
        while len(self._held) < size and self._broken is None:
            try:
                piece = next(self._pieces, b"")
            except BrokenSource as error:
                self._broken = error
                break
            if not piece:
                break
            self._held += piece
        return self._held[:size]

    def read1(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if not self.head(1) and self._broken is not None:
            raise self._broken
        taken = self._held if size < 0 else self._held[:size]
        self._held = self._held[len(taken) :]
        return taken

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, or all; fewer at the end."""
        if size is None or size < 0:
            return b"".join(iter(self.read1, b""))
        self.head(size)
        return self.read1(size)

    def unread(self, piece: bytes) -> None:
        """Puts `piece` back to the front."""
        self._held = piece + self._held

    def readable(self) -> bool:
        """Always."""
        return True
