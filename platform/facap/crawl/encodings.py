"""Content-Encoding -> the plain bytes, piece by piece, with no stage of it above a cap.

    >>> import gzip
    >>> decoder = Decoder("aws-chunked, gzip", max_bytes=100)
    >>> b"".join(decoder.feed(gzip.compress(b"picture"))) + b"".join(decoder.end())
    b'picture'

We ask for plain bytes; servers answer with what their objects were once stored under. A name that encodes
nothing (utf-8, none, image/jpeg) is ignored, and if no other stands beside it, the content says whether it is
gzip. Deflate may be bare, as some servers send it. aws-chunked is S3's way to sign uploads; its frames are
taken off where a careless upload has left them in the body.
"""

import re
import zlib
from collections.abc import Generator, Iterator
from typing import Protocol

GZIPS = ("gzip", "x-gzip")
DEFLATE = "deflate"
FRAMED = "aws-chunked"
UNREADABLE = frozenset(
    [
        "br",
        "bzip2",
        "compress",
        "dcb",
        "dcz",
        "exi",
        "lz4",
        "lzma",
        "pack200-gzip",
        "sdch",
        "snappy",
        "x-bzip2",
        "x-compress",
        "x-xz",
        "xz",
        "zstd",
        "aes128gcm",
    ]
)
"""Names, IANA's and common ones, that do encode, in ways that we do not decode."""

MAX_LAYERS = 5  # of compression in one body; curl and urllib3 stop there too
STEP_BYTES = 1 << 16  # made at a time
MAX_MEMBERS = 1000  # of gzip in one body: each costs time however empty, on the event loop
MAGIC = b"\x1f\x8b"  # of gzip


class Undecodable(ValueError):
    """The body is not what its Content-Encoding says, or this is beyond us."""


class TooLarge(ValueError):
    """More bytes than the cap, as sent or between two layers."""


class Layer(Protocol):
    """One encoding, taken off a stream."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds."""

    def end(self) -> bytes:
        """What was held back; Undecodable if the stream ended too early."""


class Decoder:
    """Takes off all encodings of a Content-Encoding `header`; "" is none.

    `encoded`: the body as sent may be another than the body as meant. Raises Undecodable; and TooLarge when
    what is sent, or lies between two layers, is more than `max_bytes` and what packing may add. The end
    result is the caller's to count.
    """

    def __init__(self, header: str, max_bytes: int) -> None:
        names = [name.partition(";")[0].strip(" \t\"'").lower() for name in header.split(",")]
        if unreadable := UNREADABLE.intersection(names):
            raise Undecodable(f"asked for plain bytes, got {', '.join(sorted(unreadable))}")
        layers: list[Layer] = [
            Inflater(bare=name == DEFLATE) for name in reversed(names) if name in (*GZIPS, DEFLATE)
        ]
        if len(layers) > MAX_LAYERS:
            raise Undecodable(f"{len(layers)} layers of compression, more than {MAX_LAYERS}")
        if not layers and set(names) - {"", "identity", FRAMED}:
            layers = [Inflater(optional=True)]
        if FRAMED in names:
            layers.insert(0, Unframer())
        self.encoded, self._layers = bool(layers), layers
        self._cap = (
            max_bytes + max_bytes // 8 + 4096
        )  # packing adds 0.1 % to what it cannot shrink, frames more
        self._sizes = [0] * len(layers)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces of up to STEP_BYTES if it was packed."""
        return self._from(0, iter((data,)))

    def end(self) -> Iterator[bytes]:
        """The rest, when all is fed."""
        for number, layer in enumerate(self._layers):
            yield from self._from(number + 1, iter((layer.end(),)))

    def _from(self, first: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for number in range(first, len(self._layers)):
            pieces = self._through(number, pieces)
        return pieces

    def _through(self, number: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._sizes[number] += len(piece)
            if self._sizes[number] > self._cap:
                raise TooLarge(f"more than {self._cap} bytes before they are unpacked")
            yield from self._layers[number].feed(piece)


class Inflater:
    """gzip, of one member or several, or zlib; with `bare` deflate without a frame too.

    `optional`: what does not begin as gzip passes as it is. Bytes after the end are left out.
    """

    def __init__(self, bare: bool = False, optional: bool = False) -> None:
        self._bare, self._optional = bare, optional
        self._held = b""  # too little to tell its kind
        self._stream: zlib._Decompress | None = None
        self._members = 0
        self._begun = self._plain = self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The unpacked bytes, never more than STEP_BYTES at a time."""
        while data and not self._over:
            if self._plain:
                yield data
                return
            if self._stream is None:
                data, self._held = self._held + data, b""
                if len(data) < len(MAGIC):
                    self._held = data
                    return
                self._start(data[:2])
                continue
            try:
                data = yield from self._unpack(self._stream, data)
            except zlib.error as error:
                raise Undecodable(f"broken compression: {error}") from error

    def _start(self, head: bytes) -> None:
        if head == MAGIC:
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise Undecodable(f"more than {MAX_MEMBERS} gzip members")
            wbits = 16 + zlib.MAX_WBITS
        elif self._begun:  # a member has ended: this is padding
            self._over = True
            return
        elif self._optional:
            self._plain = True
            return
        elif head[0] & 0x8F == 0x08 and int.from_bytes(head, "big") % 31 == 0:
            # zlib's head. Bare deflate never begins like this: it would be a stored block with a padding
            # bit that is set.
            wbits = zlib.MAX_WBITS
        elif self._bare:
            wbits = -zlib.MAX_WBITS
        else:
            raise Undecodable("said to be gzip, and does not begin like it")
        self._begun, self._stream = True, zlib.decompressobj(wbits)

    def _unpack(self, stream: "zlib._Decompress", data: bytes) -> Generator[bytes, None, bytes]:
        """Yields what is in `data`; returns what comes after the end of the stream."""
        while True:
            piece = stream.decompress(data, STEP_BYTES)
            if piece:
                yield piece
            if stream.eof:
                self._stream = None
                return stream.unused_data
            data = stream.unconsumed_tail
            if not data and len(piece) < STEP_BYTES:  # with a full piece, zlib may hold more of it back
                return b""

    def end(self) -> bytes:
        """Nothing, or the one byte that told no kind; an empty body is empty."""
        if self._stream is not None or (self._held and not self._begun and not self._optional):
            raise Undecodable("the compressed body ends too early")
        return self._held if self._optional and not self._begun else b""


class Unframer:
    """Takes off the frames of aws-chunked: length in hexadecimal, signature, line break, data, line break.

    A frame of length 0 is the last. A body that does not begin with a frame passes as it is.
    """

    _FRAME = re.compile(rb"([0-9a-fA-F]{1,16})(?:;[^\r\n]{0,1000})?\r\n")
    _BEGUN = re.compile(rb"[0-9a-fA-F]{1,16}(?:;[^\r\n]{0,1000})?\r?")
    _LONGEST = 1019

    def __init__(self) -> None:
        self._held = b""
        self._plain = self._framed = self._over = False
        self._left = 0  # of the frame's data
        self._closing = False  # a line break is due

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of the frames."""
        if self._plain:
            yield data
            return
        data, self._held = self._held + data, b""
        if not self._framed:
            self._framed = self._FRAME.match(data) is not None
            if not self._framed and not self._BEGUN.fullmatch(data):
                self._plain = True
                yield data
                return
        place = 0
        while place < len(data) and not self._over:
            if self._left:
                piece = data[place : place + self._left]
                place, self._left = place + len(piece), self._left - len(piece)
                self._closing = not self._left
                yield piece
                continue
            frame = self._FRAME.match(data, place + 2 if self._closing else place)
            if self._closing and not b"\r\n".startswith(data[place : place + 2]):
                raise Undecodable(f"a frame of {FRAMED} is longer than it says")
            if frame is None:
                if len(data) - place > self._LONGEST:
                    raise Undecodable(f"no length where {FRAMED} has one")
                self._held = data[place:]
                return
            self._closing, place = False, frame.end()
            self._left = int(frame[1], 16)
            self._over = not self._left  # what follows are checksums

    def end(self) -> bytes:
        """A body too short to have a frame."""
        if self._framed and not self._over:
            raise Undecodable(f"the last frame of {FRAMED} is missing")
        return b"" if self._framed else self._held
