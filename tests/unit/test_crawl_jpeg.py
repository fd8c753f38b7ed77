"""JPEGs as phones and shops leave them: with trailers, without an end, full of metadata, cut in half."""

import io
import itertools

import numpy as np
import pytest
import simplejpeg
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from facap.crawl.decode import DecodeError, Limits, Picture, normalise
from facap.crawl.jpeg import MAX_SEGMENTS, plain_size, take_apart
from facap.crawl.orientation import ORIENTATION

LIMITS = Limits()
START, END = b"\xff\xd8", b"\xff\xd9"
NOISE = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
IMAGE = Image.fromarray(NOISE).resize((90, 120), Image.Resampling.BICUBIC)


def encoded(mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    IMAGE.convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def oddly_sampled() -> bytes:
    """Sampled in a way that TurboJPEG has no name for; blocks stand in a wrong order, none is missing."""
    data = bytearray(encoded(keep_rgb=True))
    frame = data.index(b"\xff\xc0")
    data[frame + 11], data[frame + 14], data[frame + 17] = 0x22, 0x21, 0x22
    return bytes(data)


SOUND = {
    "baseline": encoded(),
    "fine": encoded(subsampling=0, quality=95),
    "restarts": encoded(restart_marker_blocks=4),
    "progressive": encoded(progressive=True),
    "progressive with restarts": encoded(progressive=True, restart_marker_rows=1),
    "grey": encoded("L"),
    "CMYK": encoded("CMYK"),
    "RGB planes": encoded(keep_rgb=True),
}
sound = st.sampled_from(sorted(SOUND))


def segment(kind: int, body: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2, "big") + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.bytes)).convert("RGB"), np.int16)


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as raised:
        normalise(data, LIMITS)
    return raised.value.status


@settings(deadline=None, max_examples=150)
@given(sound, st.binary(max_size=400), st.sampled_from([16, 64, 512]))
def test_a_trailer_of_any_bytes_changes_nothing(name: str, trailer: bytes, side: int) -> None:
    limits = Limits(longest_side=side)
    assert normalise(SOUND[name] + trailer, limits) == normalise(SOUND[name], limits)


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("behind", ["video", "picture", "thumbnail's scans"])
@pytest.mark.parametrize("ended", [True, False])
def test_what_phones_append_changes_nothing(name: str, behind: str, ended: bool) -> None:
    video = b"MotionPhoto_Data\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(300_000)
    trailer = {
        "video": video,
        "picture": encoded(quality=10),
        "thumbnail's scans": SOUND["progressive"][20:] * 9,
    }
    data = SOUND[name] if ended else SOUND[name][:-2]
    picture = normalise(data + trailer[behind], LIMITS)
    assert (picture.width, picture.height) == (90, 120) and len(picture.bytes) < 2 * len(SOUND[name])
    assert np.abs(pixels(picture) - pixels(normalise(SOUND[name], LIMITS))).mean() < 3
    if ended:
        assert picture == normalise(SOUND[name], LIMITS)


@pytest.mark.parametrize("exif", [True, False])
@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("side", [32, 512])
def test_only_the_end_marker_missing_gives_the_same_picture(name: str, exif: bool, side: int) -> None:
    data, limits = SOUND[name], Limits(longest_side=side)
    if exif:
        data = with_segments(data, segment(0xE1, Image.Exif().tobytes()))
    for missing in (1, 2):
        assert normalise(data[:-missing], limits) == normalise(data, limits)


@settings(deadline=None, max_examples=100)
@given(sound, st.integers(1, 60), st.booleans(), st.binary(max_size=80))
def test_less_than_all_the_data_is_truncated(name: str, share: int, exif: bool, trailer: bytes) -> None:
    data = SOUND[name]
    first_scan = data.index(b"\xff\xda") + 20
    cut = data[: first_scan + (len(data) - first_scan) * share // 100]
    if exif:
        cut = with_segments(cut, segment(0xE1, Image.Exif().tobytes()))
    assert reason(cut) == "truncated"


def test_what_turbojpeg_has_no_name_for_is_read_by_pillow_and_cut_is_cut() -> None:
    data = oddly_sampled()
    with pytest.raises(ValueError, match="determine subsampling"):
        simplejpeg.decode_jpeg(data)
    assert normalise(data + b"trailer", LIMITS) == normalise(data, LIMITS)
    assert normalise(data, LIMITS).width == 90
    assert reason(data[:-2]) == reason(data[: len(data) // 2]) == "truncated"  # nobody says which it is


def test_a_progressive_picture_lacks_nothing_but_its_end_only_if_all_scans_are_there() -> None:
    data = SOUND["progressive"]
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        assert reason(data[: data.rindex(b"\xff\xc4", 0, at)]) == "truncated"
    assert normalise(data[: scans[-1]] + END, LIMITS).width == 90  # an encoder may leave the finest bits out


def test_a_trailer_in_the_place_of_the_end_is_not_stored() -> None:
    data = SOUND["fine"]
    for trailer in (
        b"\0\0\0\0SEFH" + bytes(100) + b"SEFT",
        b"secret" * 9,
        b"\xff\xe1\0\x10secret....",
        b"secret" * 9 + END,
    ):
        picture = normalise(data[:-2] + trailer, LIMITS)
        assert b"secret" not in picture.bytes and b"SEF" not in picture.bytes
        assert np.abs(pixels(picture) - pixels(normalise(data, LIMITS))).mean() < 2


metadata = st.one_of(
    st.builds(lambda body: segment(0xE1, b"Exif\0\0" + body), st.binary(max_size=60)),
    st.builds(lambda body: segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + body), st.binary(max_size=60)),
    st.builds(lambda body: segment(0xE2, b"MPF\0" + body), st.binary(max_size=60)),
    st.builds(lambda body: segment(0xE2, b"ICC_PROFILE\0\1\1" + body), st.binary(max_size=60)),
    st.builds(lambda body: segment(0xED, b"Photoshop 3.0\0" + body), st.binary(max_size=60)),
    st.builds(segment, st.sampled_from([0xE3, 0xE4, 0xEB, 0xEF, 0xFE]), st.binary(max_size=60)),
)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File Read", "ignore:Metadata Warning")
@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["baseline", "restarts", "progressive", "RGB planes"]),
    st.lists(metadata, max_size=5),
    st.booleans(),
)
def test_metadata_is_never_stored(name: str, segments: list[bytes], ended: bool) -> None:
    found = SOUND[name]
    data = with_segments(found, *(b"\xff\xfe\0\x08SECRET" + one for one in segments))
    picture = normalise(data if ended else data[:-2], LIMITS)
    assume((picture.width, picture.height) == (90, 120))  # else the EXIF said that it lies
    assert b"SECRET" not in picture.bytes
    if np.array_equal(pixels(picture), pixels(normalise(found, LIMITS))):
        assert picture.bytes == found


def test_a_place_on_earth_is_not_stored_and_the_orientation_is_followed() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(0x8825)[29] = "2026:11:28 GPS"
    for side in (64, 512):
        picture = normalise(encoded(exif=exif.tobytes()), Limits(longest_side=side))
        assert picture.width > picture.height and b"GPS" not in picture.bytes and b"Exif" not in picture.bytes
    assert normalise(encoded(comment=b"GPS"), LIMITS).bytes == encoded()


def test_the_thumbnail_of_a_jfif_header_is_not_stored() -> None:
    data = SOUND["baseline"]
    header = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\4\4" + b"thumb" * 10)
    assert normalise(data[:2] + header + data[20:], LIMITS).bytes == data


def test_of_several_pictures_the_first_is_taken() -> None:
    out = io.BytesIO()
    IMAGE.save(out, "MPO", save_all=True, append_images=[IMAGE.resize((30, 40))])
    picture = normalise(out.getvalue(), LIMITS)
    assert (picture.format, picture.width, picture.height) == ("jpeg", 90, 120)
    assert picture == normalise(SOUND["baseline"], LIMITS)


def test_a_long_profile_is_put_together_and_an_incomplete_one_is_none() -> None:
    halves = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 2]) + text) for n, text in ((1, b"one "), (2, b"two"))
    ]
    assert take_apart(with_segments(SOUND["grey"], *halves)).profile == b"one two"
    assert take_apart(with_segments(SOUND["grey"], *halves[::-1])).profile == b"one two"
    assert take_apart(with_segments(SOUND["grey"], halves[1])).profile is None


def test_the_walk_is_bounded() -> None:
    many = [segment(0xFE, b"")] * (MAX_SEGMENTS + 1)
    data = with_segments(SOUND["baseline"], *many)
    assert plain_size(data) is None and reason(data) == "corrupt"


@settings(deadline=None, max_examples=200)
@given(sound, st.data())
def test_taking_a_picture_apart_changes_no_pixel(name: str, data: st.DataObject) -> None:
    """Whatever damage decodes at all decodes to the same pixels without what was left out."""
    body = bytearray(SOUND[name])
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(3, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = normalise(bytes(body), LIMITS)
        whole = Image.open(io.BytesIO(body)).convert("RGB")
    except (DecodeError, OSError, SyntaxError, ValueError):
        return
    if picture.bytes != SOUND[name] and take_apart(bytes(body)).bare == picture.bytes:
        assert np.array_equal(pixels(picture), np.asarray(whole, np.int16))


@given(st.lists(st.sampled_from([START, END, b"\xff", b"\0", b"\xda", b"\xc0\0\x08", b"\xe1\0\x05", b"a"])))
def test_no_bytes_upset_taking_apart(pieces: list[bytes]) -> None:
    data = b"\xff\xd8\xff" + b"".join(itertools.chain(pieces))
    with pytest.raises(DecodeError):
        normalise(data, LIMITS)
