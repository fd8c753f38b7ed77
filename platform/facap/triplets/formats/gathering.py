"""TRIPLETS, GALLERIES and CAPTIONS -> the Parts that a layout writes, images under their names.

Images are named as GALLERIES says, so what was imported goes out under the dataset's own names and in its
order; ids of our own go out as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from facap.errors import FormatError
from facap.schemas import OK, SPLITS
from facap.splits import split_of
from facap.triplets.formats.entries import Entry, Part, captions_of
from facap.triplets.formats.names import is_category, name_of

COLUMNS = [
    "reference_id", "target_id", "category", "split", "modification", "captions", "place", "status",
]  # fmt: skip
Group = tuple[str, str]  # category, split


class Names:
    """What images are called in an export. `as_ids`: by their ids, as in tables of our own."""

    def __init__(self, galleries: pa.Table, as_ids: bool = False) -> None:
        self.as_ids = as_ids
        self.lists: dict[Group, list[str]] = defaultdict(list)  # of image ids, in the dataset's order
        self._name: dict[tuple[str, str, str], str] = {}
        order = [(column, "ascending") for column in ("category", "split", "place")]
        for row in galleries.sort_by(order).to_pylist():
            group = (row["category"], row["split"])
            self.lists[group].append(row["image_id"])
            self._name[*group, row["image_id"]] = row["name"]

    def of(self, image_id: str, category: str, split: str) -> str:
        """The name of an image; FormatError if the split has a list and it is not on it."""
        if self.as_ids:
            return image_id
        if (category, split) not in self.lists:
            return name_of(image_id, category)
        name = self._name.get((category, split, image_id))
        if name is None:
            raise FormatError(
                f"TRIPLETS names image '{image_id}', which GALLERIES does not list for {category} {split}; "
                "a catalogue and an imported dataset need a workspace each"
            )
        return name


def texts_only(triplets: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """(the rows that have a text to publish, the others by status)."""
    rows = triplets.select(["modification", "captions", "place", "status"]).to_pylist()
    keep = [captions_of(row) is not None for row in rows]
    left_out = Counter(row["status"] for row, kept in zip(rows, keep, strict=True) if not kept)
    return triplets.filter(pa.array(keep, pa.bool_())), left_out


def parts(triplets: pa.Table, names: Names, captions: pa.Table | None) -> Iterator[Part]:
    """One Part for each category and split that has triplets or a list, ordered by both.

    `triplets` all have texts. `captions`: CAPTIONS, for layouts that publish these too.
    """
    described = _described(captions)
    pairs = zip(triplets["category"].to_pylist(), triplets["split"].to_pylist(), strict=True)
    with_triplets = set(pairs)
    for category, split in sorted(with_triplets | set(names.lists)):
        if not is_category(category) or split not in SPLITS:
            raise FormatError(f"TRIPLETS: '{category}' and '{split}' cannot be parts of a file's name")
        listed = names.lists.get((category, split))
        gallery = None if listed is None else [names.of(image, category, split) for image in listed]
        entries = _entries(triplets, category, split, names) if (category, split) in with_triplets else None
        texts = described.get(category, {})
        if listed is None:
            texts = {image: text for image, text in texts.items() if text[1] == split}
        else:
            texts = {image: texts[image] for image in listed if image in texts}
        descriptions = {names.of(image, category, split): text for image, (text, _) in texts.items()}
        yield Part(category, split, entries, gallery, descriptions)


def _entries(triplets: pa.Table, category: str, split: str, names: Names) -> list[Entry]:
    """In the order of the file they came from; rows of our own by their ids."""
    chosen = pc.and_(pc.equal(triplets["category"], category), pc.equal(triplets["split"], split))
    rows = triplets.filter(chosen).select(COLUMNS)
    order = [(column, "ascending") for column in ("place", "reference_id", "target_id")]
    entries = []
    for row in rows.sort_by(order).to_pylist():  # nulls come last
        reference = names.of(row["reference_id"], category, split)
        target = names.of(row["target_id"], category, split) if row["target_id"] else None
        entries.append(Entry(reference, target, captions_of(row) or ()))
    return entries


def _described(captions: pa.Table | None) -> dict[str, dict[str, tuple[str, str]]]:
    """category -> image_id -> (caption, split of the product)."""
    found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    columns = ["image_id", "product_id", "category", "caption", "raw", "status"]
    for row in captions.select(columns).to_pylist() if captions is not None else []:
        text = row["caption"] if row["status"] == OK else row["raw"] if row["status"] == "empty" else None
        if text is not None:
            found[row["category"]][row["image_id"]] = (text, split_of(row["product_id"]))
    return found
