"""What images are called: by the dataset (a name), in IMAGES and TRIPLETS (an id), by the split's hash.

    >>> image_id_of("B009PMCJLW", "dress"), name_of("dress/B009PMCJLW", "dress")
    ('dress/B009PMCJLW', 'B009PMCJLW')
    >>> split_of(product_id_of("B009PMCJLW", "dress", "val"))
    'val'

A dataset may use one name in several categories (121 images of Fashion IQ's val splits are in shirt and in
toptee), so an id made of a name begins with the category. A name that is a content hash, as in our own
exports, is the id already.
"""

import hashlib
import itertools
import json
import re

from facap.errors import FormatError
from facap.schemas import KNOWN_CATEGORIES
from facap.splits import split_of

CONTENT_HASH = re.compile(r"[0-9a-f]{32}")
MAX_NAME = 200  # characters of a name, or of a part of a path; file systems end at 255 bytes
_CATEGORY = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")


def is_plain(name: str) -> bool:
    """Whether `name` can be a file's name: no separators, no control characters, not a way upwards."""
    return 0 < len(name) <= MAX_NAME and not _FORBIDDEN.search(name) and name not in (".", "..")


def is_path(name: str) -> bool:
    """Whether `name` is a relative path that stays below its folder."""
    return len(name) <= 4 * MAX_NAME and all(is_plain(part) for part in name.split("/"))


def is_category(category: str) -> bool:
    """Whether `category` can be part of a file's name in every layout."""
    return bool(_CATEGORY.fullmatch(category))


def check_category(category: str, more: tuple[str, ...], file: str) -> None:
    """Raises FormatError unless `category`, which `file` is named after, is known or among `more`."""
    known = (*KNOWN_CATEGORIES, *more)
    if category not in known or not is_category(category):
        raise FormatError(
            f"{file}: unknown category '{category[:80]}'; known: {', '.join(known)}; name it in "
            "imports.categories if it is meant (lower case, digits, - and _)"
        )


def image_id_of(name: str, category: str) -> str:
    """The id of an image of which no picture was given."""
    return name if CONTENT_HASH.fullmatch(name) else f"{category}/{name}"


def name_of(image_id: str, category: str) -> str:
    """The name that `image_id_of` was given; raises FormatError for other ids."""
    if CONTENT_HASH.fullmatch(image_id):
        return image_id
    if image_id.startswith(f"{category}/"):
        return image_id.removeprefix(f"{category}/")
    raise FormatError(
        f"TRIPLETS: '{image_id}' of category {category} is neither a content hash (32 hex digits) nor "
        f"'{category}/<name>', so no layout can name it; make the triplets again, or import them"
    )


def item_id_of(name: str, category: str, split: str) -> str:
    """One image of one list, always the same."""
    return hashlib.sha256(json.dumps([category, split, name]).encode()).hexdigest()[:32]


def product_id_of(name: str, category: str, split: str) -> str:
    """A product whose hash puts it into `split`, so that every stage keeps the dataset's own splits."""
    tries = (f"{category}/{split}/{name}~{number}" for number in itertools.count())
    return next(product_id for product_id in tries if split_of(product_id) == split)
