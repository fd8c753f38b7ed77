"""What every reader of a source yields: lines, and in the place of a line that cannot be read, why.

    >>> next(read_or_say(iter([{"url": "https://a.example/1.jpg"}]), "feed.xml"))
    {'url': 'https://a.example/1.jpg'}

A line is a mapping from column to value, as the source spells both; `columns` says which is which.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from facap.quoting import shown, without_secrets

GZIP = b"\x1f\x8b"
READ_BYTES = 1 << 16
MAX_MEMBERS = 1000  # of a gzip file whose members hold less than MEMBER_BYTES
MEMBER_BYTES = 1 << 12  # unpacked; block gzip (BGZF) has a member for 64 KiB
MESSAGE = 300  # characters of what is said of a line, the name of its document aside


@dataclass(frozen=True)
class Unreadable:
    """Input that makes no line: the reason in snake_case, and what was seen, made fit to be printed."""

    reason: str
    seen: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", shown(without_secrets(self.seen), 2 * MESSAGE))


class Lost(Unreadable):
    """A whole document, or the rest of one from here on."""


Line = dict[str, Any] | Unreadable


class BrokenSource(ValueError):
    """The rest of a source cannot be read; `reason` in snake_case, the message made fit to be printed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(shown(without_secrets(message), MESSAGE))
        self.reason = reason


def read_or_say(lines: Iterator[Line], name: str) -> Iterator[Line]:
    """`lines` to the end, or to where the source breaks: then a Lost with the reason comes last."""
    try:
        yield from lines
    except BrokenSource as error:
        yield lost(error, name)


def lost(error: BrokenSource, name: str) -> Lost:
    """What is said of a document `name` that breaks off."""
    return Lost(error.reason, f"{shown(without_secrets(name), MESSAGE - 10)}: {error}")


class Bounded(io.RawIOBase):
    """A binary file, unpacked if its content is gzip, that raises BrokenSource past `max_bytes`.

    Nothing is held but a buffer, so a small file that unfolds to a large one costs time up to the limit
    and no memory.

        >>> import gzip
        >>> Bounded(io.BytesIO(gzip.compress(b"sku,url")), max_bytes=100).read()
        b'sku,url'
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.file, self.max_bytes, self.size_bytes = file, max_bytes, 0
        self._members = 1
        self._pending = file.read(READ_BYTES)
        self._unpack = zlib.decompressobj(31) if self._pending[:2] == GZIP else None  # 31: gzip's frame

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`; 0 at the end."""
        piece = self._plain(len(buffer)) if self._unpack is None else self._unpacked(len(buffer))
        self.size_bytes += len(piece)
        if self.size_bytes > self.max_bytes:
            raise BrokenSource("source_too_large", f"more than {self.max_bytes} bytes")
        buffer[: len(piece)] = piece
        return len(piece)

    def _plain(self, most: int) -> bytes:
        piece = self._pending or self.file.read(most)
        piece, self._pending = piece[:most], piece[most:]
        return piece

    def _unpacked(self, most: int) -> bytes:
        assert self._unpack is not None
        while True:
            if self._unpack.eof and not self._next_member():
                return b""
            packed = self._unpack.unconsumed_tail or self._pending or self.file.read(READ_BYTES)
            if packed is self._pending:
                self._pending = b""
            if not packed:
                raise BrokenSource("corrupt_gzip", "the compressed data ends too early")
            try:
                piece = self._unpack.decompress(packed, most)
            except zlib.error as error:
                raise BrokenSource("corrupt_gzip", str(error)) from error
            if piece:
                return piece

    def _next_member(self) -> bool:
        """Whether another gzip member follows; zeros may pad the last, and text after it is none of it."""
        assert self._unpack is not None
        rest = (self._unpack.unused_data or self._pending).lstrip(b"\0")
        while len(rest) < len(GZIP) and (more := self.file.read(READ_BYTES)):
            rest = (rest + more).lstrip(b"\0")
        if not rest.startswith(GZIP):
            self._pending = b""
            return False
        self._members += 1
        if self._members > MAX_MEMBERS + self.size_bytes // MEMBER_BYTES:
            raise BrokenSource("corrupt_gzip", f"{self._members} members for {self.size_bytes} bytes")
        self._unpack, self._pending = zlib.decompressobj(31), rest
        return True

    def close(self) -> None:
        """Closes the file too."""
        if not self.closed:
            self.file.close()
        super().close()


def open_bounded(path: str, max_bytes: int) -> BinaryIO:
    """A local file to read in pieces, gzip or not; OSError if it cannot be opened."""
    return io.BufferedReader(Bounded(open(path, "rb", buffering=0), max_bytes), READ_BYTES)
