"""What every layout is read into and written from: a `Part`, one category and split of a dataset.

    >>> entry = Entry("B003FGW7MK", "B008BHCT58", ("is solid black.", "has straps"))
    >>> row = to_row(entry, "dress", "train", place=0, made_by={}, image_ids={})
    >>> row["reference_id"], row["modification"], row["status"]
    ('dress/B003FGW7MK', 'Is solid black and has straps', 'ok')

Nothing is lost on the way: `captions` keeps the texts as the file has them, and `modification` is what a
model reads of them. A record without a target (`no_target`) or without any text (`empty`) is a failed row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facap.schemas import OK
from facap.texts import joined
from facap.triplets.formats.names import image_id_of


@dataclass(frozen=True)
class Entry:
    """One record: images by the names that the dataset gives them; no target where it is kept secret."""

    reference: str
    target: str | None
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One category and split; None for what the dataset does not have of it.

    `gallery`: the names of its images, in the dataset's order. `descriptions`: image name -> caption.
    """

    category: str
    split: str
    entries: list[Entry] | None = None
    gallery: list[str] | None = None
    descriptions: dict[str, str] = field(default_factory=dict)

    def images(self) -> list[str]:
        """The gallery; without one, the images that the records name, in their order."""
        if self.gallery is not None:
            return self.gallery
        pairs = ((entry.reference, entry.target) for entry in self.entries or [])
        return list(dict.fromkeys(name for pair in pairs for name in pair if name is not None))


def to_row(
    entry: Entry,
    category: str,
    split: str,
    place: int,
    made_by: Mapping[str, str],
    image_ids: Mapping[str, str | None],
) -> dict[str, Any]:
    """`entry` as a row of TRIPLETS.

    `image_ids`: name -> image_id of its picture, None if there is none; a name that is not in it keeps an
    id made of the name, for pictures that come from elsewhere.
    """
    text = joined(entry.captions)
    status, error = OK, None
    if entry.target is None:
        status, error = "no_target", "the dataset keeps the target secret"
    elif text is None:
        status, error = "empty", "the record has no text"
    elif lost := [name for name in (entry.reference, entry.target) if image_ids.get(name, name) is None]:
        status, error = "no_picture", f"no usable picture of '{lost[0]}' was given"
    names = (entry.reference, entry.target)
    ids = ["" if name is None else image_ids.get(name) or image_id_of(name, category) for name in names]
    return {
        "reference_id": ids[0],
        "target_id": ids[1],
        "category": category,
        "modification": text,
        "captions": None if entry.captions == (text,) else list(entry.captions),
        "split": split,
        "place": place,
        "status": status,
        "error": error,
        **made_by,
    }


def captions_of(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The texts of a row of TRIPLETS as a layout writes them; None if it has none to publish."""
    if row["captions"] is not None:
        return tuple(row["captions"])
    if row["modification"] is not None and (row["status"] == OK or row["place"] is not None):
        return (row["modification"],)
    return None
