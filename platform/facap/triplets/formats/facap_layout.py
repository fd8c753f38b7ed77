"""FACap's published layout: triplets and captions, images by their paths below an images folder.

    cir_triplets/dress_train_triplets.json    [{"candidate": "f200k_images/1.jpg",
                                                "target": "f200k_images/2.jpg",
                                                "captions": ["make it sleeveless and navy"]}, ...]
    image_captions/dress_train_captions.json  {"f200k_images/1.jpg": "a red dress with long sleeves", ...}

FACap has a train split only; other splits are named likewise. An image of ours, named by its content hash,
is `<hash>.jpg` here. Paths are relative and stay below the folder.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facap.errors import FormatError
from facap.schemas import SPLITS
from facap.triplets.formats.documents import (
    check_captions,
    check_keys,
    check_text,
    dump,
    mapping,
    read_text,
    records,
)
from facap.triplets.formats.entries import Entry, Part
from facap.triplets.formats.names import CONTENT_HASH, check_category, is_path

FOLDERS = {"triplets": "cir_triplets", "captions": "image_captions"}
_FILE = re.compile(rf"(.+)_({'|'.join(SPLITS)})_(triplets|captions)\.json")


def files(folder: Path, splits: tuple[str, ...], categories: tuple[str, ...]) -> dict[tuple, Path]:
    """(kind, category, split) -> file, of the splits that are asked for; FormatError if there is none."""
    found: dict[tuple, Path] = {}
    for kind, below in FOLDERS.items():
        for path in sorted((folder / below).glob(f"*_{kind}.json")):
            words = _FILE.fullmatch(path.name)
            if not words:
                raise FormatError(f"{path.name}: should be named <category>_<{'|'.join(SPLITS)}>_{kind}.json")
            category, split = words[1], words[2]
            if split in splits:
                check_category(category, categories, path.name)
                found[kind, category, split] = path
    if not found:
        raise FormatError(
            f"{folder} holds no cir_triplets/<category>_<split>_triplets.json and no "
            f"image_captions/<category>_<split>_captions.json of {', '.join(splits)}; is it FACap's folder?"
        )
    return found


def read(
    folder: Path, splits: tuple[str, ...], categories: tuple[str, ...], max_bytes: int
) -> Iterator[Part]:
    """One Part a category and split, ordered by both; its gallery are the images that have a caption."""
    found = files(folder, splits, categories)
    for category, split in sorted({(category, split) for _, category, split in found}):
        triplets, captions = (
            found.get(("triplets", category, split)),
            found.get(("captions", category, split)),
        )
        descriptions = {} if captions is None else _descriptions(captions, max_bytes)
        entries = None if triplets is None else _entries(triplets, max_bytes)
        yield Part(category, split, entries, None if captions is None else list(descriptions), descriptions)


def write(folder: Path, part: Part) -> None:
    """The files of one part."""
    name = f"{part.category}_{part.split}"
    if part.entries is not None:
        _write(folder / FOLDERS["triplets"] / f"{name}_triplets.json", [_record(e) for e in part.entries])
    if part.descriptions:
        captions = {_path(image): text for image, text in part.descriptions.items()}
        _write(folder / FOLDERS["captions"] / f"{name}_captions.json", captions)


def picture_names(name: str, category: str) -> list[str]:
    """Where below an images folder the picture of an image lies."""
    return [_path(name)]


def picture_file(name: str, category: str) -> str:
    """Where below the images folder a picture is written."""
    return _path(name)


def _path(name: str) -> str:
    """What the files call an image."""
    return f"{name}.jpg" if CONTENT_HASH.fullmatch(name) else name


def _name(value: Any, what: str, where: str) -> str:
    path = check_text(value, what, where)
    if not is_path(path):
        raise FormatError(f"{where}: {what} {path[:80]!r} should be a relative path below the images folder")
    stem = path.removesuffix(".jpg")
    return stem if CONTENT_HASH.fullmatch(stem) else path


def _entries(path: Path, max_bytes: int) -> list[Entry]:
    entries = []
    for line, value in records(read_text(path, max_bytes), path.name):
        where = f"{path.name}, line {line}"
        record = check_keys(value, {"candidate", "target", "captions"}, set(), where)
        reference = _name(record["candidate"], "candidate", where)
        target = _name(record["target"], "target", where)
        entries.append(Entry(reference, target, check_captions(record["captions"], where)))
    return entries


def _descriptions(path: Path, max_bytes: int) -> dict[str, str]:
    descriptions: dict[str, str] = {}
    for image, caption in mapping(read_text(path, max_bytes), path.name).items():
        where = f"{path.name}, image {image[:80]!r}"
        name = _name(image, "the path", where)
        if name in descriptions:
            raise FormatError(
                f"{where}: the image is there twice, with and without .jpg; remove one of the two"
            )
        descriptions[name] = check_text(caption, "the caption", where)
    return descriptions


def _record(entry: Entry) -> dict[str, Any]:
    if entry.target is None:
        raise FormatError(
            f"FACap's layout has no triplets without a target, such as that of '{entry.reference}'; "
            "leave their split out with exports.splits, or choose another layout"
        )
    return {
        "candidate": _path(entry.reference),
        "target": _path(entry.target),
        "captions": list(entry.captions),
    }


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(value), encoding="utf-8")
