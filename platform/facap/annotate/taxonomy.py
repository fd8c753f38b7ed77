"""What texts say about garments, by the words of annotate/taxonomy.yaml.

    >>> taxonomy = load()
    >>> taxonomy.attributes("A navy and white striped dress with long sleeves, without a belt.")
    {'colour': 'navy', 'second_colour': 'white', 'pattern': 'striped', 'sleeve': 'long'}

The longest form that matches at a place wins, forms match whole words, and a form after "no",
"without", "remove" and the like is negated: it is a mention, but no attribute.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from facap.errors import ConfigError

FILE = Path(__file__).resolve().parent / "taxonomy.yaml"
_NEGATION = re.compile(
    r"\b(?:no|not|without|remove|drop|lose|minus|(?:take|leave) (?:off|out)|instead of|rather than)"
    r"(?: (?:a|an|any|the|its|their))?(?: \w+)? $"
)


@dataclass(frozen=True)
class Mention:
    """One place where a text names a value."""

    attribute: str
    value: str
    negated: bool = False
    before: str = field(default="", compare=False)  # the text from the mention before, or the start, to here


@dataclass(frozen=True)
class _Attribute:
    forms: dict[str, str]  # form -> value
    then: str | None = None
    many: bool = False


class Taxonomy:
    """Finds attribute values in texts. `tree` is what the YAML file holds."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._attributes = {name: _attribute(name, tree) for name in tree}
        # the attribute that takes a text's second value, e.g. {"colour": "second_colour"}
        self.seconds = {name: a.then for name, a in self._attributes.items() if a.then}
        self._meanings: dict[str, tuple[str, str]] = {}
        for name, attribute in self._attributes.items():
            for form, value in attribute.forms.items():
                self._meanings.setdefault(form, (name, value))
        longest_first = sorted(self._meanings, key=lambda form: (-len(form), form))
        self._pattern = re.compile(rf"(?<![\w])(?:{'|'.join(map(re.escape, longest_first))})(?![\w])")

    def mentions(self, text: str) -> Iterator[Mention]:
        """Every value that `text` names, in the order of the text."""
        plain = normalise(text)
        end, negated = 0, False
        for match in self._pattern.finditer(plain):
            name, value = self._meanings[match.group()]
            between = plain[end : match.start()]
            if between != " ":  # "remove the white buttons": what negates white negates buttons
                negated = bool(_NEGATION.search(between))
            end = match.end()
            yield Mention(name, value, negated, between)

    def names(self) -> list[str]:
        """Every attribute, in the order of the file."""
        return list(self._attributes)

    def has_many(self, attribute: str) -> bool:
        """Whether a garment can have several values of it."""
        return self._attributes[attribute].many

    def values(self, attribute: str) -> list[str]:
        """Every value of an attribute, in the order of the file; none of an unknown one."""
        known = self._attributes.get(attribute)
        return list(dict.fromkeys(known.forms.values())) if known else []

    def attributes(self, text: str) -> dict[str, str]:
        """Attribute -> value, as `text` states them; what it does not say is absent.

        The first value counts; a second one goes to the attribute that `then` names, and
        attributes with `many` keep all, joined with ", ".
        """
        found: dict[str, list[str]] = {}
        for mention in self.mentions(text):
            values = found.setdefault(mention.attribute, [])
            if not mention.negated and mention.value not in values:
                values.append(mention.value)
        stated: dict[str, str] = {}
        for name, attribute in self._attributes.items():
            values = found.get(name, [])
            if values:
                stated.setdefault(name, ", ".join(values) if attribute.many else values[0])
            if len(values) > 1 and attribute.then and not found.get(attribute.then):
                stated[attribute.then] = values[1]
        return stated


@cache
def load(extension: str = "") -> Taxonomy:
    """The shipped taxonomy, with the attributes of the YAML file `extension` added.

    Raises ConfigError if the file cannot be read or has another shape.
    """
    tree = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    more = _read(extension) if extension else {}
    try:
        for name, attribute in more.items():
            tree[name] = _merge(tree.get(name, {}), attribute)
        return Taxonomy(tree)
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"taxonomy '{extension}' should map attribute -> values -> lists of forms, as "
            f"{FILE} does: {error!r}"
        ) from error


def text_of(extension: str = "") -> str:
    """The words of a taxonomy, for the keys of stages that read attributes with it."""
    own = Path(extension).expanduser().read_text(encoding="utf-8") if extension else ""
    return FILE.read_text(encoding="utf-8") + own


def _read(path: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"taxonomy '{path}' cannot be read: {error}") from error
    if not isinstance(tree, dict) or not all(isinstance(v, dict) for v in tree.values()):
        raise ConfigError(f"taxonomy '{path}' should map attribute -> values -> lists of forms")
    return tree


def _merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    values = dict(base.get("values", {}))
    for value, forms in more.get("values", {}).items():
        values[value] = [*(values.get(value) or []), *(forms or [])]
    return base | more | {"values": values}


def _attribute(name: str, tree: dict[str, Any]) -> _Attribute:
    entry = tree[name]
    values = entry.get("values", {})
    bare = entry.get("bare", values)  # the values whose own names are forms
    forms: dict[str, str] = {}
    for value, others in values.items():
        for form in [*([value] if value in bare else []), *(others or [])]:
            forms[normalise(form)] = value
    if "like" in entry:  # the words of another attribute, in phrases
        for form, value in _attribute(entry["like"], tree).forms.items():
            for pattern in entry["patterns"]:
                forms[normalise(pattern.replace("{" + entry["like"] + "}", form))] = value
    return _Attribute(forms, entry.get("then"), bool(entry.get("many", False)))


def normalise(text: str) -> str:
    """`text` as `mentions` reads it: lower case, one space between words, hyphens as spaces."""
    return " ".join(text.lower().replace("-", " ").replace("‑", " ").split())
