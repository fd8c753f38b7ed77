"""One input of a kind that other people's shops, servers and models produce, with the right result.

    >>> Case("tables", "utf16", expected=2, seen=lambda folder: count(folder / "a.csv"))    # doctest: +SKIP

Every module of this folder that has `CASES` is run by tests/unit/test_outside.py, and counted by
benchmarks/outside.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIVEN = Path(__file__).resolve().parents[3] / "shared" / "cases"  # beside the checkout, not part of it


@dataclass(frozen=True)
class Case:
    """`seen` gets an empty folder and returns what the code makes of the input; `expected` is what is right.

    `given` is the folder of `shared/cases` that the input lies in, empty where the input is made here.
    """

    kind: str
    name: str
    expected: Any
    seen: Callable[[Path], Any]
    given: str = ""

    @property
    def there(self) -> bool:
        """Whether the input is on this machine."""
        return not self.given or (GIVEN / self.given).is_dir()

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"
