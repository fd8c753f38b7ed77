"""Requests from anywhere -> a `Query`, or a `ClientError` that says what was expected.

    >>> body = b'{"reference_id": "0123456789abcdef0123456789abcdef", "text": "in red"}'
    >>> from_json(body, args).k                                              # doctest: +SKIP
    20

Pure functions: no HTTP, no Ray. The same checks hold for JSON and for multipart forms.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facap.crawl.decode import DecodeError, Limits, normalise
from facap.schemas import CATEGORIES
from serve_app.config import ServeArgs

IMAGE_ID = re.compile(r"[0-9a-f]{32}")
DEFAULT_K = 20
FIELDS = ("reference_id", "text", "k", "category")
PICTURE_KINDS = "a JPEG, PNG, WebP, GIF or AVIF picture"
_STATUS = {"not_an_image": 415, "too_many_pixels": 413}  # what else cannot be decoded is a 400
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class ClientError(Exception):
    """A request that cannot be answered; `status` is the HTTP status, `expected` what would be right."""

    def __init__(self, status: int, message: str, expected: str) -> None:
        super().__init__(message)
        self.status, self.message, self.expected = status, message, expected


@dataclass(frozen=True)
class Query:
    """What is asked for, beside the picture: how to change it, and how many results of which category."""

    text: str
    k: int
    category: str | None
    reference_id: str | None  # None: the picture came along


def from_json(body: bytes, args: ServeArgs) -> Query:
    """The query in a JSON body; its reference is a picture of the catalogue."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ClientError(
            400, "the body is not JSON", 'a JSON object such as {"reference_id": "...", "text": "in red"}'
        ) from error
    if not isinstance(fields, dict):
        raise ClientError(400, f"the body is a JSON {type(fields).__name__}", "a JSON object")
    query = from_fields(fields, args)
    if query.reference_id is None:
        raise ClientError(
            400, "reference_id is missing", "the image_id of a picture of the catalogue, or a multipart form"
        )
    return query


def from_fields(fields: Mapping[str, Any], args: ServeArgs) -> Query:
    """The query in named fields, as JSON or a form gave them."""
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise ClientError(400, f"unknown field '{unknown[0][:40]}'", "only " + ", ".join(FIELDS))
    return Query(
        text=_text(fields.get("text"), args.max_text_chars),
        k=_count(fields.get("k"), args.max_results),
        category=category(fields.get("category")),
        reference_id=_image_id(fields.get("reference_id")),
    )


def picture(data: bytes, args: ServeArgs) -> bytes:
    """An uploaded picture, made what the crawl makes of a catalogue's: upright sRGB JPEG within limits.

    The kind is decided by the content; the number of pixels is checked before anything is decoded.
    """
    if not data:
        raise ClientError(400, "the picture is empty", PICTURE_KINDS)
    try:
        return normalise(data, Limits(max_pixels=args.max_upload_pixels)).bytes
    except DecodeError as error:
        said = {
            "not_an_image": "the upload is not a picture of a known kind",
            "too_many_pixels": f"the picture has more than {args.max_upload_pixels:,} pixels",
            "truncated": "the picture is cut off",
        }.get(error.status, "the picture is damaged")
        raise ClientError(_STATUS.get(error.status, 400), said, PICTURE_KINDS) from error


def category(value: Any) -> str | None:
    """One of the six categories; None (or empty, as forms send it) for all of them."""
    if value is None or value == "":
        return None
    if value not in CATEGORIES:
        raise ClientError(400, "unknown category", "one of " + ", ".join(CATEGORIES) + ", or none for all")
    return str(value)


def _text(value: Any, most: int) -> str:
    expected = f"text: how the reference should change, 1 to {most} characters"
    if not isinstance(value, str):
        raise ClientError(400, "text is missing" if value is None else "text is not a string", expected)
    if len(value) > most:
        raise ClientError(400, f"text has {len(value):,} characters", expected)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise ClientError(400, "text is not valid Unicode", expected) from error
    text = " ".join(_CONTROL.sub(" ", value).split())
    if not text:
        raise ClientError(400, "text is empty", expected)
    return text


def _count(value: Any, most: int) -> int:
    expected = f"k: a whole number from 1 to {most}"
    if value is None:
        return min(DEFAULT_K, most)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ClientError(400, "k is out of range", expected)
    return value


def _image_id(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not IMAGE_ID.fullmatch(value):
        raise ClientError(400, "reference_id is malformed", "reference_id: 32 hexadecimal digits")
    return value
