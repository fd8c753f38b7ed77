"""The form that a setting's value has to have, in words and as an example, out of its type and default.

>>> in_words(tuple[str, ...]), in_words(int | None)
('a list of texts', 'a whole number, or null')
>>> example("hosts", tuple[str, ...], ())
'hosts: [text, text]'
"""

import types
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_WORDS: dict[Any, tuple[str, str]] = {  # one, several
    str: ("text", "texts"),
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    date: ("a date", "dates"),
}
_EXAMPLES: dict[Any, Any] = {str: "text", bool: True, int: 1, float: 0.5, date: date(2026, 11, 23)}
SEEN_CHARS = 100  # of a value, in an error
_SHOWN = 2  # settings of a section in its example


def kinds(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, else the type itself; None is NoneType."""
    union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if union else (annotation,)


def section(annotation: Any) -> type[BaseModel] | None:
    """The model of a section of settings; None for a single setting."""
    is_one = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_one else None


def is_list(annotation: Any) -> bool:
    """Whether one of the types is a list or tuple."""
    return any((get_origin(kind) or kind) in (list, tuple, set, frozenset) for kind in kinds(annotation))


def is_mapping(annotation: Any) -> bool:
    """Whether one of the types is a mapping of names that we do not know."""
    return any((get_origin(kind) or kind) is dict for kind in kinds(annotation))


def explain(path: Sequence[str], seen: Any, model: type[BaseModel]) -> str:
    """One sentence: the form that the setting of `model` at `path` has, what was `seen`, an example."""
    names, field = find(path, model)
    if field is None:
        return f"settings should be a mapping of sections, got {_cut(seen)}"
    inside = ".".join(path[len(names) :]) if len(kinds(field.annotation)) == 1 else ""
    value = _meant(seen, field.annotation) if len(path) == len(names) else None
    default = value if value is not None else field.get_default(call_default_factory=True)
    shown = example(names[-1], field.annotation, default)
    for name in reversed(names[:-1]):
        shown = f"{name}: {{{shown}}}"
    place = f" at '{inside}'" if inside else ""  # in a list or mapping
    should = f"should be {in_words(field.annotation)}, got {_cut(seen)}{place}"
    return f"setting '{'.'.join(names)}': {should}; e.g. {shown}"


def _cut(seen: Any) -> str:
    text = repr(seen)
    return text if len(text) <= SEEN_CHARS else text[:SEEN_CHARS] + "..."


def _meant(seen: Any, annotation: Any) -> Any:
    """What was seen in the right form, where the fault is a lack of brackets or quotes; else None."""
    if not isinstance(seen, str | int | float | date):
        return None
    if is_list(annotation):
        return [seen]
    return str(seen) if str in kinds(annotation) and not isinstance(seen, str) else None


def find(path: Sequence[str], model: type[BaseModel]) -> tuple[list[str], FieldInfo | None]:
    """The longest beginning of `path` that names a setting of `model`, and that setting."""
    names: list[str] = []
    field: FieldInfo | None = None
    inner: type[BaseModel] | None = model
    for name in path:
        if inner is None or name not in inner.model_fields:
            break
        field = inner.model_fields[name]
        names.append(name)
        inner = section(field.annotation)
    return names, field


def in_words(annotation: Any) -> str:
    """What a value of this type is: "a list of texts", "a whole number, or null"."""
    found = [kind for kind in kinds(annotation) if kind is not types.NoneType]
    words = " or ".join(_in_words(kind) for kind in found)
    return words + (", or null" if len(found) < len(kinds(annotation)) else "")


def _in_words(kind: Any) -> str:
    arguments = get_args(kind)
    if section(kind):
        return "a section of settings"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if is_list(kind):
        return f"a list of {_several(arguments[0]) if arguments else 'values'}"
    if is_mapping(kind):
        return f"a mapping of names to {_several(arguments[1]) if arguments else 'values'}"
    return _WORDS[kind][0] if kind in _WORDS else getattr(kind, "__name__", str(kind))


def _several(kind: Any) -> str:
    return _WORDS[kind][1] if kind in _WORDS else "values" if kind is Any else in_words(kind)


def example(name: str, annotation: Any, default: Any) -> str:
    """One line of YAML that gives the setting `name`: its default, if this shows the form."""
    value = _shown(default) if _shown(default) not in (None, "", [], {}) else _made(annotation)
    return yaml.safe_dump({name: value}, default_flow_style=True, width=10**6, sort_keys=False).strip()[1:-1]


def _shown(default: Any) -> Any:
    """A default as YAML knows it; of a section its first plain settings."""
    if isinstance(default, BaseModel):
        values = [(name, _shown(value)) for name, value in default if not isinstance(value, BaseModel)]
        return dict([(name, value) for name, value in values if value not in (None, "", [], {})][:_SHOWN])
    if isinstance(default, tuple | set | frozenset):
        return [_shown(value) for value in default]
    return default if isinstance(default, str | bool | int | float | date | list | dict) else None


def _made(annotation: Any) -> Any:
    """A value of the type, where the default shows none."""
    kind = next(kind for kind in (*kinds(annotation), None) if kind is not types.NoneType)
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return arguments[0]
    if is_list(kind):
        return [_made(arguments[0]) if arguments else "value"] * 2
    if is_mapping(kind):
        return {"name": _made(arguments[1]) if arguments and arguments[1] is not Any else "value"}
    return _EXAMPLES.get(kind, "value")
