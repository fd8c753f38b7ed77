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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from facap.errors import ConfigError
from facap.quoting import shown
from facap.schemas import CATEGORIES, UNMAPPED

TABLE = Path(__file__).with_name("categories.yaml")
GENERAL = "general"  # names that say nothing, so that the level above is asked
IGNORED = "ignored_words"
CATEGORY_KEYS = (*CATEGORIES, UNMAPPED, GENERAL)
KEYS = (*CATEGORY_KEYS, IGNORED)
FORM = "a mapping such as {dress: [kleid, kleider]} or {kleid: dress, kleider: dress}"
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
    def load(cls, own: str | Mapping[str, Any] = "") -> "Categories":
        """The table of the package with `own` on top: a YAML file's path, or what such a file holds.

        Raises ConfigError if it is no table.
        """
        table: dict[str, str] = {}
        ignored: set[str] = set()
        try:
            mine = names_of((_read(own) if isinstance(own, str) else own) if own else {})
        except ValueError as error:
            where = f" '{shown(own)}'" if isinstance(own, str) else ""
            raise ConfigError(f"catalog.categories{where}: {error}") from error
        for content in (names_of(_ours()), mine):
            ignored |= {_normal(word) for word in content.pop(IGNORED, [])}
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


def names_of(content: Any) -> dict[str, list[str | int]]:
    """A table in either of its two forms -> category -> names; ValueError, which says both, if it is none.

    >>> names_of({"dress": ["kleid"], "Blusen": "top"})
    {'dress': ['kleid'], 'top': ['Blusen']}
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"should be {FORM}, is {type(content).__name__} {_as_json(content)}")
    table: dict[str, list[str | int]] = {}
    for key, names in content.items():
        if isinstance(names, str) and names in CATEGORY_KEYS and _is_name(key):
            table.setdefault(names, []).append(key)
        elif key not in KEYS:
            unknown = key if isinstance(names, list) else names
            raise ValueError(
                f"unknown category '{shown(unknown)}'; known: {', '.join(KEYS)}; should be {FORM}"
            )
        elif not isinstance(names, list) or not all(map(_is_name, names)):
            raise ValueError(f"'{key}' should be a list of names, is {_as_json(names)}; should be {FORM}")
        else:
            table.setdefault(key, []).extend(names)
    return table


def _is_name(name: Any) -> bool:
    return isinstance(name, str | int) and not isinstance(name, bool)


def _as_json(value: Any) -> str:
    try:
        return shown(json.dumps(value, default=str), 80)
    except (TypeError, ValueError, RecursionError):  # YAML has keys of any kind, and may hold itself
        return shown(value, 80)


@functools.cache
def _ours() -> Any:
    return _read(str(TABLE))


def _read(path: str) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"should be {FORM} in a file: {shown(' '.join(str(error).split()))}") from error
