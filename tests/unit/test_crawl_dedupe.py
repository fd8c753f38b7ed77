"""Who stands for whom: equal pictures, pictures that only look different, and ones that only look equal."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facap.crawl.decode import Limits, normalise
from facap.crawl.dedupe import Met, duplicates, mark_duplicates
from facap.crawl.likeness import NOTHING_IN_COMMON, SAME, difference, thumbnail
from facap.crawl.near import representatives
from facap.schemas import IMAGES, from_rows
from facap.store import Stage, Store


def picture(seed: int, width: int = 240, height: int = 320) -> Image.Image:
    """Soft blobs in colour, others for each seed."""
    blobs = np.random.default_rng(seed).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def row(item: str, image: Image.Image | None, status: str = "ok", quality: int = 90) -> dict:
    outcome = vars(normalise(encoded(image, quality), Limits())) if image is not None else {}
    return {
        "item_id": item,
        "product_id": "p",
        "category": "top",
        "url": "http://a.example",
        "status": status,
        "fetched_at": datetime.now(UTC),
        **outcome,
    }


def state(stage: Stage) -> dict[str, str | None]:
    return {r["item_id"]: r["duplicate_of"] for r in stage.read().to_pylist()}


def recoloured(image: Image.Image) -> Image.Image:
    """Other colours, the same lightness: a hash of lightness cannot tell them apart."""
    y, cb, cr = image.convert("YCbCr").split()
    return Image.merge("YCbCr", (y, cr, cb)).convert("RGB")


@given(st.dictionaries(st.text(max_size=4), st.sampled_from("xyz")))
@settings(deadline=None)
def test_one_of_each_picture_remains_and_it_is_the_first(image_ids: dict[str, str]) -> None:
    found = duplicates(image_ids)
    kept = set(image_ids) - set(found)
    assert {image_ids[k] for k in kept} == set(image_ids.values()) and len(kept) == len(
        set(image_ids.values())
    )
    assert all(first in kept and first < item for item, first in found.items())


def test_what_a_worker_has_met_is_marked_as_it_is_written() -> None:
    met = Met(most=2)
    rows = [
        {"item_id": item, "image_id": image} for item, image in ("bx", "cx", "ax", "dx", "by", "bz", "ex")
    ]
    for one in rows:
        met.mark(one)
    # "a" comes late and cannot change "b"; x, y and z are one too many, so x is forgotten before "e" comes.
    assert [one.get("duplicate_of") for one in rows] == [None, "b", None, "a", None, None, None]


def test_marks_are_written_once_and_corrected_later(tmp_path: Path) -> None:
    stage = Store(str(tmp_path)).stage("images", IMAGES, "k")
    stage.write(from_rows([row("b", picture(1)), row("c", picture(2))], IMAGES))
    stage.write(from_rows([row("d", picture(1)), row("e", None, "http_404")], IMAGES))
    assert mark_duplicates(stage) == 1
    assert state(stage) == {"b": None, "c": None, "d": "b", "e": None}
    before = [Path(stage.folder, p).stat().st_mtime_ns for p in stage.parts()]
    assert mark_duplicates(stage) == 1
    assert before == [Path(stage.folder, p).stat().st_mtime_ns for p in stage.parts()]
    stage.write(from_rows([row("a", picture(1))], IMAGES))
    assert mark_duplicates(stage) == 2
    assert state(stage) == {"a": None, "b": "a", "c": None, "d": "a", "e": None}
    assert all(r["bytes"] for r in stage.read().to_pylist() if r["status"] == "ok")


def test_the_largest_copy_stands_for_the_others(tmp_path: Path) -> None:
    image = picture(1)
    small, cropped = image.resize((120, 160)), image.crop((6, 5, 234, 309))
    rows = [
        row("a", small), row("b", cropped), row("c", image), row("d", image, quality=40),
        row("e", small), row("f", picture(2)), row("g", recoloured(image)), row("h", None, "http_404"),
    ]  # fmt: skip
    stage = Store(str(tmp_path)).stage("images", IMAGES, "k")
    stage.write(from_rows(rows[::-1], IMAGES))
    assert mark_duplicates(stage) == 4
    expected = {"a": "c", "b": "c", "c": None, "d": "c", "e": "c", "f": None, "g": None, "h": None}
    assert state(stage) == expected
    assert mark_duplicates(stage, near=False) == 1
    assert state(stage) == {**dict.fromkeys("abcdfgh"), "e": "a"}


def test_alikeness_is_not_handed_on() -> None:
    """a is like b and b like c, but a is not like c: so c stands for itself."""
    one, other = (np.asarray(picture(seed, 64, 64), float) for seed in (1, 2))
    shares = (0.0, 0.12, 0.24)
    blends = [np.array(one * (1 - s) + other * s, np.uint8) for s in shares]
    apart = [
        difference(blends[0], blends[1]),
        difference(blends[1], blends[2]),
        difference(blends[0], blends[2]),
    ]
    same = (max(apart[:2]) + apart[2]) / 2
    assert max(apart[:2]) < same < apart[2]
    hashes = ["00" * 64] * 3
    assert representatives(hashes, lambda places: np.stack([blends[p] for p in places]), same=same) == [
        0,
        0,
        2,
    ]


def test_thumbnails_are_asked_for_once_and_only_where_there_is_a_candidate() -> None:
    asked: list[list[int]] = []

    def thumbnails_of(places: list[int]) -> np.ndarray:
        asked.append(places)
        return np.zeros((len(places), 64, 64, 3), np.uint8)

    hashes = ["00" * 64, "ff" * 32 + "0f" * 32, "01" + "00" * 63]
    assert representatives(hashes, thumbnails_of) == [0, 1, 0] and asked == [[0, 2]]
    assert representatives(hashes[:2], thumbnails_of) == [0, 1] and len(asked) == 1
    assert representatives(hashes[:1], thumbnails_of) == [0] and representatives([], thumbnails_of) == []


def test_difference_undoes_crops_and_sees_colour() -> None:
    image = picture(3)
    base = thumbnail(encoded(image))
    assert difference(base, base) < 1e-3
    for box in ((0, 0, 230, 306), (10, 14, 240, 320), (5, 2, 236, 318)):
        assert difference(base, thumbnail(encoded(image.crop(box)))) < SAME
    assert difference(base, thumbnail(encoded(recoloured(image)))) > 2 * SAME
    assert difference(base, thumbnail(encoded(picture(4)))) > 2 * SAME
    plain = [np.full((64, 64, 3), shade, np.uint8) for shade in (250, 245, 100)]
    assert difference(plain[0], plain[1]) < SAME < difference(plain[0], plain[2])
    assert NOTHING_IN_COMMON > 255
