"""A shop's name for a category -> ours, by a table that can be extended.

    >>> categories = Categories.load()
    >>> categories.of("Apparel & Accessories > Clothing > Dresses")
    'dress'
    >>> categories.of("Women's Midi-Skirts"), categories.of("Shoes > Dress Shoes"), categories.of("Kleider")
    ('skirt', 'unmapped', '')

A path is searched from its deepest level up, a level by its last words ("summer dresses": dresses), parts
joined by "and" must agree. So what the table lacks is not guessed at.
"""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from facap.errors import ConfigError
from facap.schemas import CATEGORIES, UNMAPPED

TABLE = Path(__file__).with_name("categories.yaml")
GENERAL = "general"  # names that say nothing, so that the level above is asked
KEYS = (*CATEGORIES, UNMAPPED, GENERAL, "ignored_words")
MAX_NAME = 500  # characters of a name that are looked at
MAX_WORDS = 3  # of a name in the table
REMEMBERED = 20_000  # names; a shop has hundreds
_LEVELS = re.compile(r"[>/|»›\\]|::")
_PARTS = re.compile(r"&|\+|,|;|\band\b|\bor\b")
_NOT_WORD = re.compile(r"[^\w&+,;]+")


class Categories:
    """`of(name)`: one of CATEGORIES, UNMAPPED if the table says that it is none, "" if it says nothing."""

    def __init__(self, table: dict[str, str], ignored: frozenset[str] = frozenset()) -> None:
        self.table, self.ignored = table, ignored
        self.of: Callable[[str], str] = functools.lru_cache(REMEMBERED)(self._of)

    @classmethod
    def load(cls, path: str = "") -> "Categories":
        """The table of the package, with the YAML file at `path` on top; ConfigError if it is no table."""
        table: dict[str, str] = {}
        ignored: set[str] = set()
        for file in (str(TABLE), path):
            content = _read(file) if file else {}
            ignored |= {_normal(word) for word in content.pop("ignored_words", [])}
            for category, names in content.items():
                said = "" if category == GENERAL else category
                table |= {_normal(name): said for name in names}
        return cls(table, frozenset(ignored))

    def fingerprint(self) -> list[Any]:
        """What the answers depend on, for a stage's key."""
        return [sorted(self.table.items()), sorted(self.ignored)]

    def _of(self, name: str) -> str:
        name = name[:MAX_NAME]
        whole = self.table.get(_normal(name), "")
        if whole:
            return whole
        for level in reversed(_LEVELS.split(name)):
            found = self._level(level)
            if found:
                return found
        return ""

    def _level(self, level: str) -> str:
        name = _normal(level)
        if self.table.get(name) == "":
            return ""
        words = [word for word in name.split() if word not in self.ignored]
        exact = self._name(words)
        if exact:
            return exact
        found = {self._last_words(part.split()) for part in _PARTS.split(" ".join(words))} - {""}
        if len(found) > 1:
            return UNMAPPED  # "dresses & skirts" is neither
        return found.pop() if found else ""

    def _last_words(self, words: list[str]) -> str:
        for length in range(min(MAX_WORDS, len(words)), 0, -1):
            found = self._name(words[-length:])
            if found:
                return found
        return ""

    def _name(self, words: list[str]) -> str:
        name = " ".join(words)
        for ending in ("", "s", "es"):
            if name.endswith(ending) and name.removesuffix(ending) in self.table:
                return self.table[name.removesuffix(ending)]
        return ""


def _normal(name: Any) -> str:
    """Lower case, words parted by single blanks, possessives and other marks gone."""
    text = re.sub(r"['’]s\b", "s", str(name).casefold())
    text = re.sub(r"['’]", "", text)
    return " ".join(re.sub(r"([&+,;])", r" \1 ", _NOT_WORD.sub(" ", text)).split())


def _read(path: str) -> dict[str, list]:
    example = "a mapping such as {dress: [kleid, kleider]}"
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"catalog.categories '{path}' should be {example}: {message}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"catalog.categories '{path}' should be {example}, is {type(content).__name__}")
    for key, names in content.items():
        if key not in KEYS:
            raise ConfigError(
                f"catalog.categories '{path}': unknown category '{key}'; known: {', '.join(KEYS)}"
            )
        if not isinstance(names, list) or not all(
            isinstance(name, str | int) and not isinstance(name, bool) for name in names
        ):
            shown = json.dumps(names, default=str)[:80]
            raise ConfigError(f"catalog.categories '{path}': '{key}' should be a list of names, is {shown}")
    return dict(content)
