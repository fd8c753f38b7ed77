"""Captions as JSON: attributes with the values of the taxonomy, and a sentence. vLLM holds answers to it.

    >>> words = taxonomy.load()
    >>> schema(words)["properties"]["sleeve"]["enum"][:3]
    ['sleeveless', 'strapless', 'short']
    >>> parse('{"colour": "navy", "caption": "a navy top"}', words=words).status
    'ok'

Engines let a model write nothing else: every attribute is there, null where the picture shows none, and the
keys always come in the same order. Servers may not, so what is only written otherwise (a code fence, prose
around it, other letter case, an attribute left out) is read all the same. An attribute of which a garment can
have several values is a list.
"""

import json
from functools import cache
from typing import Any

import jsonschema

from facap.annotate import answer, json_answer, parsing, taxonomy
from facap.annotate.answer import Fault, short
from facap.annotate.parsing import Parsed
from facap.annotate.taxonomy import Taxonomy

CAPTION = "caption"
_NOTHING = ("", "null", "none", "n/a")  # as some write null


def schema(words: Taxonomy) -> dict[str, Any]:
    """The JSON schema of an answer, within what OpenAI's strict mode allows."""
    properties: dict[str, Any] = {}
    for name in words.names():
        values: list[str | None] = [*words.values(name)]
        if words.has_many(name):
            properties[name] = {"type": "array", "items": {"type": "string", "enum": values}}
        else:
            properties[name] = {"type": ["string", "null"], "enum": [*values, None]}
    properties[CAPTION] = {"type": "string"}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@cache
def text_of(extension: str) -> str:
    """The schema of a taxonomy as text, as engines are told it."""
    return json.dumps(schema(taxonomy.load(extension)))


def answer_of(caption: str, words: Taxonomy) -> str:
    """The answer that states of a garment what `caption` states; what models are taught."""
    stated = words.attributes(caption)
    answer: dict[str, Any] = {}
    for name in words.names():
        if words.has_many(name):
            answer[name] = stated[name].split(", ") if name in stated else []
        else:
            answer[name] = stated.get(name)
    return json.dumps(answer | {CAPTION: caption}, separators=(",", ":"))


def parse(
    raw: str,
    *,
    cut_off: bool = False,
    max_chars: int = 800,
    words: Taxonomy,
    category: str = "",
    language: str = "en",
) -> Parsed:
    """The caption in `raw` and its attributes, as the JSON has them; the rest is as in parse_caption."""
    said = answer.said_in(raw, cut_off)
    if isinstance(said, Fault):
        return Parsed(said.status, said.error)
    try:
        found = as_taught(json_answer.read(said), words)
        _validator(words).validate(found)
    except json_answer.NoObject as error:
        fault = answer.fault_of(answer.clean(raw), len(raw), language)
        if fault and fault.status == "refused":
            return Parsed(fault.status, fault.error)
        return Parsed("unparsable", f"{error}: {short(said)}")
    except RecursionError:  # while the fault is put into words
        return Parsed("unparsable", f"values too deep in one another: {short(said)}")
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the answer"
        return Parsed("unparsable", f"{where}: {error.message[:200]}")
    attributes = {
        name: ", ".join(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in found.items()
        if value and name != CAPTION
    }
    text = answer.read(found[CAPTION], max_chars=max_chars, language=language)
    if isinstance(text, Fault):
        return Parsed(text.status, text.error)
    return parsing.judge_caption(text, attributes, category)


def as_taught(found: dict[str, Any], words: Taxonomy) -> dict[str, Any]:
    """An answer with its names and values in the taxonomy's letter case, and null for what it leaves out."""
    known = {name.casefold(): name for name in [*words.names(), CAPTION]}
    named = {_name(key, known): value for key, value in found.items()}
    if len(named) < len(found):
        raise json_answer.NoObject("a key is there twice, in other letter case")
    for name in words.names():
        values = {value.casefold(): value for value in words.values(name)}
        value = named.get(name)
        if words.has_many(name):
            several = [value] if isinstance(value, str) else value
            if several is None or isinstance(several, list):
                several = [_value(one, values) for one in several or []]
                several = [one for one in several if one is not None]
            named[name] = several
        else:
            named[name] = _value(value, values)
    return named


def _name(key: str, known: dict[str, str]) -> str:
    return known.get(key.strip().casefold().replace(" ", "_").replace("-", "_"), key)


def _value(value: Any, values: dict[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    plain = value.strip().casefold()
    return None if plain in _NOTHING and plain not in values else values.get(plain, value)


@cache
def _validator(words: Taxonomy) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(words))
