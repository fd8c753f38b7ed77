"""Whatever a body was wrapped in comes off, within the cap, however it is cut into pieces."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.crawl.encodings import MAX_LAYERS, MAX_MEMBERS, STEP_BYTES, Decoder, TooLarge, Undecodable
from tests.outside.servers import bare_deflate, framed, framed_with_checksum

CAP = 1 << 20
PACKERS: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [gzip.compress, lambda body: gzip.compress(body[:7]) + gzip.compress(body[7:])],
    "x-gzip": [lambda body: gzip.compress(body, 0)],
    "deflate": [zlib.compress, bare_deflate, lambda body: zlib.compress(body, 0)],
}
NOTHING = ["identity", "utf-8", "none", "binary", "image/jpeg", "", "8bit", "UTF-8;q=1"]
LAYERS = st.lists(
    st.sampled_from([(name, pack) for name, packs in PACKERS.items() for pack in packs]), max_size=MAX_LAYERS
)
FRAMES = st.sampled_from([None, framed, framed_with_checksum, lambda body: body])
BODY = st.binary(max_size=300) | st.binary(max_size=9).map(lambda body: body * 5000)


def decoded(header: str, sent: bytes, size: int = 1 << 16, cap: int = CAP) -> bytes:
    decoder = Decoder(header, cap)
    body = b""
    for start in range(0, len(sent), size):
        for piece in decoder.feed(sent[start : start + size]):
            assert not decoder.encoded or len(piece) <= max(STEP_BYTES, size)
            body += piece
    return body + b"".join(decoder.end())


@given(BODY, LAYERS, FRAMES, st.data())
@settings(deadline=None, max_examples=200)
def test_any_stack_gives_the_same_bytes(
    body: bytes, layers: list, frame: Callable | None, data: st.DataObject
) -> None:
    names, sent = [name for name, _ in layers], body
    for _, pack in layers:
        sent = pack(sent)
    if frame is not None and sent:
        sent = frame(sent)
        names.insert(data.draw(st.integers(0, len(names))), "aws-chunked")
    for word in data.draw(st.lists(st.sampled_from(NOTHING), max_size=3)):
        names.insert(data.draw(st.integers(0, len(names))), word)
    if not layers and (
        body[:2] == b"\x1f\x8b" or (frame is not None and body[:1] in b"0123456789abcdefABCDEF")
    ):
        return  # then the content says something else
    header = data.draw(st.sampled_from([", ", ","])).join(
        name.upper() if name == "gzip" else name for name in names
    )
    assert decoded(header, sent, data.draw(st.sampled_from([1, 2, 3, 1000, 1 << 16]))) == body


@given(
    st.sampled_from(["gzip", "deflate", "aws-chunked", "aws-chunked, gzip", "gzip, deflate", "none"]),
    st.binary(max_size=200),
)
@settings(deadline=None)
def test_any_bytes_are_decoded_or_refused(header: str, sent: bytes) -> None:
    outcomes = []
    for size in (1, 7, 1000):
        try:
            outcomes.append(decoded(header, sent, size))
        except Undecodable as error:
            assert str(error)
            outcomes.append(b"refused")
    assert len(set(outcomes)) == 1


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_a_bomb_between_two_layers_is_bounded(depth: int) -> None:
    """The last layer unpacks to nothing, so counting what comes out would not do."""
    head, end = gzip.compress(b"")[:10], gzip.compress(b"")[10:]
    sent = head + b"\0\0\0\xff\xff" * 4_000_000 + end  # one member of empty blocks
    for _ in range(depth - 1):
        sent = gzip.compress(sent)
    assert len(sent) < CAP
    with pytest.raises(TooLarge):
        decoded(", ".join(["gzip"] * depth), sent)


@pytest.mark.parametrize("header", ["gzip", "deflate", "utf-8", "gzip, gzip"])
@pytest.mark.parametrize("content", [b"", b"x"])
def test_members_are_counted_however_little_they_hold(header: str, content: bytes) -> None:
    outer: Callable[[bytes], bytes] = gzip.compress if header == "gzip, gzip" else bytes
    member = gzip.compress(content)
    assert decoded(header, outer(member * MAX_MEMBERS), 1000) == content * MAX_MEMBERS
    for size in (1000, CAP):
        with pytest.raises(Undecodable, match=f"more than {MAX_MEMBERS} gzip members"):
            decoded(header, outer(member * (MAX_MEMBERS + 1)), size)


def test_what_is_sent_is_bounded_too() -> None:
    with pytest.raises(TooLarge):
        decoded("gzip", gzip.compress(b"") * 100_000, cap=1000)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare_deflate])
def test_nothing_is_kept_back_at_the_end_of_a_step(pack: Callable[[bytes], bytes]) -> None:
    for extra in (-1, 0, 1, 257, 258):
        body = bytes(STEP_BYTES * 3 + extra)
        assert decoded("deflate", pack(body)) == body


@pytest.mark.parametrize("cut", [3, 5, 9])  # of frames, the last line break says nothing
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare_deflate, framed])
def test_half_a_body_is_none(pack: Callable[[bytes], bytes], cut: int) -> None:
    with pytest.raises(Undecodable, match=r"too early|missing"):
        decoded("aws-chunked" if pack is framed else "deflate", pack(bytes(range(256)) * 20)[:-cut])


def test_more_layers_than_anyone_needs_are_refused() -> None:
    with pytest.raises(Undecodable, match="6 layers"):
        Decoder(",".join(["gzip"] * (MAX_LAYERS + 1)), CAP)
