"""Fashion IQ's layout: two captions a pair, and the list of images of each category and split.

    captions/cap.dress.val.json        [{"target": "B0084Y8XIU", "candidate": "B005X4PL1G",
                                         "captions": ["is shiny and silver", "fit and flare"]}, ...]
    image_splits/split.dress.val.json  ["B009PMCJLW", "B0084Y8XIU", ...]

`candidate` is the reference. A test split has no `target`. The files may also lie side by side in one
folder, as enhFashionIQ's do, and either kind may be missing; every name must be a plain file name, and if
a split's list is there, its records may name no other image.
"""

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
    read_text,
    records,
)
from facap.triplets.formats.entries import Entry, Part
from facap.triplets.formats.names import check_category, is_plain

FOLDERS = {"cap": "captions", "split": "image_splits"}


def files(folder: Path, splits: tuple[str, ...], categories: tuple[str, ...]) -> dict[tuple, Path]:
    """(kind, category, split) -> file, of the splits that are asked for; FormatError if there is none."""
    found: dict[tuple, Path] = {}
    for kind, below in FOLDERS.items():
        for path in sorted([*folder.glob(f"{kind}.*.json"), *(folder / below).glob(f"{kind}.*.json")]):
            words = path.name.split(".")
            if len(words) != 4 or words[2] not in SPLITS:
                raise FormatError(f"{path.name}: should be named {kind}.<category>.<{'|'.join(SPLITS)}>.json")
            if words[2] not in splits:
                continue
            check_category(words[1], categories, path.name)
            key = (kind, words[1], words[2])
            if key in found:
                raise FormatError(f"{path.name} is there twice, in {folder} and below; remove one of the two")
            found[key] = path
    if not found:
        raise FormatError(
            f"{folder} holds no captions/cap.<category>.<split>.json and no "
            f"image_splits/split.<category>.<split>.json of {', '.join(splits)}; is it Fashion IQ's folder?"
        )
    return found


def read(
    folder: Path, splits: tuple[str, ...], categories: tuple[str, ...], max_bytes: int
) -> Iterator[Part]:
    """One Part a category and split, ordered by both."""
    found = files(folder, splits, categories)
    for category, split in sorted({(category, split) for _, category, split in found}):
        captions, listed = found.get(("cap", category, split)), found.get(("split", category, split))
        gallery = None if listed is None else _gallery(listed, max_bytes)
        entries = None if captions is None else _entries(captions, max_bytes, gallery)
        yield Part(category, split, entries, gallery)


def write(folder: Path, part: Part) -> None:
    """The files of one part; without a gallery of its own, the images that its records name are listed."""
    if part.entries is not None:
        _write(folder / FOLDERS["cap"], f"cap.{part.category}.{part.split}.json", map(_record, part.entries))
    _write(folder / FOLDERS["split"], f"split.{part.category}.{part.split}.json", part.images())


def picture_names(name: str, category: str) -> list[str]:
    """Where below an images folder the picture of an image may lie, by the layouts in use."""
    endings = (".jpg", ".png", ".jpeg", ".webp")
    return [f"{below}{name}{ending}" for below in ("", f"{category}/") for ending in endings]


def picture_file(name: str, category: str) -> str:
    """Where below the images folder a picture is written; two categories may have one name."""
    return f"{category}/{name}.jpg"


def _gallery(path: Path, max_bytes: int) -> list[str]:
    names: dict[str, None] = {}
    for line, value in records(read_text(path, max_bytes), path.name):
        name = _name(value, "an image", f"{path.name}, line {line}")
        if name in names:
            raise FormatError(f"{path.name}, line {line}: '{name}' is listed twice; an image is listed once")
        names[name] = None
    return list(names)


def _entries(path: Path, max_bytes: int, gallery: list[str] | None) -> list[Entry]:
    known = None if gallery is None else set(gallery)
    entries = []
    for line, value in records(read_text(path, max_bytes), path.name):
        where = f"{path.name}, line {line}"
        record = check_keys(value, {"candidate", "captions"}, {"target"}, where)
        reference = _name(record["candidate"], "candidate", where)
        target = _name(record["target"], "target", where) if "target" in record else None
        for name in (reference, target):
            if known is not None and name is not None and name not in known:
                raise FormatError(f"{where}: '{name}' is not in split.{path.name.removeprefix('cap.')}")
        entries.append(Entry(reference, target, check_captions(record["captions"], where)))
    return entries


def _name(value: Any, what: str, where: str) -> str:
    name = check_text(value, what, where)
    if not is_plain(name):
        raise FormatError(f"{where}: {what} {name[:80]!r} cannot be a file's name (no separators, not empty)")
    return name


def _record(entry: Entry) -> dict[str, Any]:
    target = {} if entry.target is None else {"target": entry.target}
    return {**target, "candidate": entry.reference, "captions": list(entry.captions)}


def _write(folder: Path, name: str, values: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(dump(list(values)), encoding="utf-8")
