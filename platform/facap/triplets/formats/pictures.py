"""A folder of pictures + the images that a dataset lists -> IMAGES, which every later stage takes as it is.

One row an image of a category and split, so each is captioned and becomes the reference of one pair. Its
picture carries its name in a JPEG comment: two names of one picture thereby stay two images, where the
crawl would mark a duplicate. Its product is one whose hash falls into the dataset's own split (see names).
Reasons: no_file, too_large, unreadable, and those of the decoder.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facap.progress import Progress, check_failures
from facap.schemas import IMAGES, OK, from_rows
from facap.store import Manifest, Store, fingerprint, stage_key
from facap.triplets.formats.config import ImportConfig
from facap.triplets.formats.entries import Part
from facap.triplets.formats.names import CONTENT_HASH, item_id_of, product_id_of

VERSION = 1
SOI, APP0, COM = b"\xff\xd8", b"\xff\xe0", b"\xff\xfe"
PREFIX = b"facap:"  # of the comments that are ours

ImageKey = tuple[str, str, str]  # category, split, name


@dataclass(frozen=True)
class Decoder:
    """How pictures are decoded: `outcome(data)` are columns of IMAGES, its `status` says how it went.

    `settings`: what the outcome depends on. `max_bytes`: larger files are not read.
    """

    outcome: Callable[[bytes], dict[str, Any]]
    settings: dict[str, Any]
    max_bytes: int


@dataclass(frozen=True)
class Listed:
    """An image of a dataset; `path`: its file below the images folder, None if there is none."""

    category: str
    split: str
    name: str
    path: str | None
    size_bytes: int = 0


def find(folder: Path, parts: Iterable[Part], candidates: Callable[[str, str], list[str]]) -> list[Listed]:
    """The images of all parts with their files; `candidates(name, category)`: where one may lie."""
    found = []
    for part in parts:
        for name in part.images():
            path, size = None, 0
            for candidate in candidates(name, part.category):
                file = folder / candidate
                if file.is_file():
                    path, size = candidate, file.stat().st_size
                    break
            found.append(Listed(part.category, part.split, name, path, size))
    return found


def run(
    store: Store, listed: list[Listed], config: ImportConfig, decoder: Decoder, progress: Progress
) -> Manifest:
    """Makes IMAGES of what is `listed`; StageFailed above `max_failure_rate`, good rows are kept."""
    files = fingerprint([[i.category, i.split, i.name, i.path, i.size_bytes] for i in listed])
    inputs = {"files": files}
    stage = store.stage("images", IMAGES, stage_key("import_images", VERSION, decoder.settings, inputs))
    if manifest := stage.finished():
        return manifest
    done = stage.done("item_id")
    todo = [image for image in listed if item_id_of(image.name, image.category, image.split) not in done]
    folder = Path(config.images).expanduser()
    with ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode") as threads:
        for start in range(0, len(todo), config.batch_size):
            batch = todo[start : start + config.batch_size]
            rows = threads.map(lambda image: _row(image, folder, decoder), batch)
            stage.write(from_rows(list(rows), IMAGES))
            progress.update(len(listed) - len(todo) + start + len(batch), len(listed))
    counts = Counter(stage.read(["status"]).column(0).to_pylist())
    check_failures("import", dict(counts), config.max_failure_rate)
    wanted = {item_id_of(image.name, image.category, image.split) for image in listed}
    return stage.commit(config.model_dump(mode="json"), inputs, expected=len(wanted))


def image_ids(store: Store, listed: list[Listed]) -> dict[ImageKey, str | None]:
    """The image_id of each that is `listed`, None where no usable picture was given."""
    columns = store.read("images", ["item_id", "image_id"]).to_pydict()
    ids = dict(zip(columns["item_id"], columns["image_id"], strict=True))
    return {(i.category, i.split, i.name): ids[item_id_of(i.name, i.category, i.split)] for i in listed}


def named(data: bytes, name: str) -> bytes:
    """The JPEG `data` with a comment that says `name`, behind its JFIF header; the pixels are untouched.

    An earlier comment of ours is replaced, so a picture that was exported gets the same bytes again.
    """
    assert data.startswith(SOI), data[:4]
    at = len(SOI)
    if data[at : at + 2] == APP0:
        at = _end(data, at)
    rest = data[at:]
    if rest.startswith(COM) and rest[4:].startswith(PREFIX):
        rest = rest[_end(rest, 0) :]
    text = PREFIX + name.encode()
    return data[:at] + COM + (len(text) + 2).to_bytes(2, "big") + text + rest


def _end(data: bytes, at: int) -> int:
    """Where the JPEG segment that begins at `at` ends."""
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _row(image: Listed, folder: Path, decoder: Decoder) -> dict[str, Any]:
    row = _outcome(image, folder, decoder)
    if row["status"] == OK:
        data, of_ours = row["bytes"], CONTENT_HASH.fullmatch(image.name)
        if not of_ours or _hash(data) != image.name:  # an exported picture of ours has its id already
            data = named(data, f"{image.category}/{image.split}/{image.name}")
        row |= {"bytes": data, "image_id": _hash(data)}
    return row | {
        "item_id": item_id_of(image.name, image.category, image.split),
        "product_id": product_id_of(image.name, image.category, image.split),
        "category": image.category,
        "url": image.path or image.name,
        "body_bytes": min(image.size_bytes, 2**31 - 1) if image.path else None,
        "fetched_at": datetime.now(UTC),
    }


def _outcome(image: Listed, folder: Path, decoder: Decoder) -> dict[str, Any]:
    if image.path is None:
        return {"status": "no_file", "error": f"the images folder has no picture of '{image.name}'"}
    try:
        with (folder / image.path).open("rb") as file:
            data = file.read(decoder.max_bytes + 1)
    except OSError as error:
        return {"status": "unreadable", "error": f"{image.path}: {error.strerror or error}"}
    if len(data) > decoder.max_bytes:
        return {"status": "too_large", "error": f"{image.path} has over {decoder.max_bytes} bytes"}
    return decoder.outcome(data)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
