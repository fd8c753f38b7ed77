"""The files that the review page exports, read as what they are: anything at all, from anyone.

    {"schema": "facap.review.marks", "version": 1, "triplets": "8f5afc9c112d", "sample": "0c1d...",
     "reviewer": "Ann", "exported_at": "2026-11-25T10:00:00Z",
     "marks": [{"reference_id": "31f8...", "target_id": "0a1f...", "mark": "good", "time": "2026-..."}]}

`read_marks` bounds a file's size before it parses, refuses what it does not know, and says in one sentence
what is wrong; what the file says is never part of that sentence but as a name of a key, made printable.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from facap.errors import ConfigError, ContractError

SCHEMA, VERSION = "facap.review.marks", 1
MAX_BYTES = 8 * 2**20  # MAX_MARKS marks are below this
MAX_MARKS = 20_000
LONGEST_NAME = 80  # characters of a reviewer's name
LONGEST_KEY = 40  # characters of an unknown key that are quoted


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("should have no control characters")
    return name


ImageId = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME),
    AfterValidator(_printable),  # it is printed on a terminal
]


class Mark(BaseModel):
    """One triplet as one person sees it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference_id: ImageId
    target_id: ImageId
    mark: Literal["good", "bad"]
    time: AwareDatetime

    @property
    def key(self) -> tuple[str, str]:
        """The triplet."""
        return self.reference_id, self.target_id


class MarksFile(BaseModel):
    """What one person exported."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_name: Literal["facap.review.marks"] = Field(alias="schema")
    version: Literal[1]
    triplets: Fingerprint
    sample: Fingerprint
    reviewer: Name
    exported_at: AwareDatetime
    marks: Annotated[list[Mark], Field(min_length=1, max_length=MAX_MARKS)]


def read_marks(path: str) -> MarksFile:
    """The content of one file; ConfigError if it cannot be read, ContractError if it is no marks file."""
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"review.marks: {path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ContractError(f"{path}: a marks file has at most {MAX_BYTES} bytes, this one has more")
    return parse_marks(data, path)


def parse_marks(data: bytes, name: str) -> MarksFile:
    """The marks in `data`; `name` is what errors call it. ContractError if they are not as above."""
    try:
        found = MarksFile.model_validate_json(data)
    except ValidationError as error:
        raise ContractError(f"{name}: {_explain(error)}; export it from the review page again") from error
    (key, times), *_ = Counter(mark.key for mark in found.marks).most_common(1)
    if times > 1:
        raise ContractError(f"{name}: {key[0]} > {key[1]} is marked {times} times, once is expected")
    return found


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, without what was read: it may be long, and it is not ours."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(
        ascii(part)[1:-1][:LONGEST_KEY] if isinstance(part, str) else str(part) for part in first["loc"]
    )
    what = {
        "json_invalid": "is not JSON",
        "extra_forbidden": "is not known",
        "missing": "is missing",
        "literal_error": "has none of the values that are known",
        "string_pattern_mismatch": "is malformed",
    }.get(first["type"], first["msg"][:1].lower() + first["msg"][1:])
    return f"'{where}' {what}" if where else f"the file {what}"


def check_together(files: list[tuple[str, MarksFile]], triplets: str) -> None:
    """Raises ContractError unless all are of the TRIPLETS with this fingerprint, and of different people."""
    seen: dict[str, str] = {}
    for name, file in files:
        if file.triplets != triplets:
            raise ContractError(
                f"{name}: its marks are of TRIPLETS {file.triplets}, the workspace holds {triplets}; "
                "score them in the workspace that their page was made from, or mark a new page"
            )
        if file.reviewer in seen:
            raise ContractError(
                f"{name}: {file.reviewer} is the reviewer of {seen[file.reviewer]} as well; pass only the "
                "last file of each reviewer"
            )
        seen[file.reviewer] = name
