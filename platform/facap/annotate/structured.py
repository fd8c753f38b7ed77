"""Captions as JSON: attributes with the values of the taxonomy, and a sentence. vLLM holds answers to it.

    >>> words = taxonomy.load()
    >>> schema(words)["properties"]["sleeve"]["enum"][:3]
    ['sleeveless', 'strapless', 'short']
    >>> parse('{"colour": "navy", "caption": "a navy top"}', words=words).status
    'unparsable'

Every attribute is there, null where the picture shows none, so that answers are complete and the keys always
come in the same order. An attribute of which a garment can have several values is a list.
"""

import json
from functools import cache
from typing import Any

import jsonschema

from facap.annotate import parsing, taxonomy
from facap.annotate.parsing import Parsed
from facap.annotate.taxonomy import Taxonomy

CAPTION = "caption"


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
    raw: str, *, cut_off: bool = False, max_chars: int = 800, words: Taxonomy, category: str = ""
) -> Parsed:
    """The caption in `raw` and its attributes, as the JSON has them; the rest is as in parse_caption."""
    text = parsing.bare(raw)
    if not text:
        return Parsed("empty", "the model wrote nothing")
    if cut_off:
        return Parsed("too_long", f"the answer ran over max_tokens: {parsing.short(text)}")
    try:
        answer = json.loads(text)
        _validator(words).validate(answer)
    except (ValueError, RecursionError) as error:
        return Parsed("unparsable", f"no JSON ({error}): {parsing.short(text)}")
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the answer"
        return Parsed("unparsable", f"{where}: {error.message[:200]}")
    attributes = {
        name: ", ".join(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in answer.items()
        if value and name != CAPTION
    }
    return parsing.judge_caption(parsing.clean(answer[CAPTION]), attributes, max_chars, category)


@cache
def _validator(words: Taxonomy) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(words))
