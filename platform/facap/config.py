"""Typed settings from defaults, YAML files, the environment and the command line, in this order.

A stage's settings are one `StageConfig` beside the stage; `parse` fills any such model:

    $ python -m jobs.crawl_images --config facap.yaml --crawl.read_timeout_s 20
    $ FACAP_CRAWL__READ_TIMEOUT_S=20 python -m jobs.crawl_images

Of several `--config` files a later one wins, setting by setting. Every flag takes a value; a boolean one may
also stand alone (`--crawl.obey_robots`, or with `--no-` before its name).
Unknown keys are ConfigErrors that name the nearest known key, values of a wrong form say which form is right.
"""

import difflib
import json
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from facap import forms
from facap.errors import ConfigError


class StageConfig(BaseModel):
    """Base of every settings model: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)

ENV_PREFIX = "FACAP_"
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_WRONG_FORM = re.compile(r"_(type|parsing|parsing_size)$|_from_")  # names of pydantic's errors


def known_keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every setting of `model` in dotted form and its type, e.g. {"crawl.timeout_s": float}."""
    keys: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        keys[prefix + name] = field.annotation
        if section := forms.section(field.annotation):
            keys |= known_keys(section, f"{prefix}{name}.")
    return keys


def parse(
    model: type[Model],
    argv: list[str],
    prog: str,
    description: str,
    follows: Mapping[str, str] | None = None,
) -> Model:
    """`model` filled from `--config FILE`, FACAP_* variables and `--section.key value` flags.

    `follows` says which setting, in dotted form, is as which other one where it is not given itself:
    {"verify": "caption"}. Of sections and mappings this holds key by key, at every depth.
    `model_fields_set`, of every section too, has just the settings that one of the three gave, or that follow
    one which was given.
    Raises ConfigError for an unreadable file, an unknown key or a value out of range; exits 0
    after `--help`.
    """
    argv, from_file = _take_config_files(argv)
    from_environment = _read_environment(model)
    given = _over(_over(from_file, from_environment), _read_flags(model, argv, prog, description))
    given = _without_empty_sections(model, given)
    for name in given:
        if name not in model.model_fields:
            raise ConfigError(f"unknown setting '{name}'{_nearest(str(name), model)}")
    for follower, leader in (follows or {}).items():
        _follow(given, follower.split("."), leader.split("."))
    try:
        filled = model.model_validate(_over(_defaults(model), given))
    except ValidationError as error:
        raise ConfigError(_explain(error, model)) from error
    return _mark_given(filled, given)


def _read_flags(model: type[BaseModel], argv: list[str], prog: str, description: str) -> dict[str, Any]:
    """The settings that flags give, nested."""
    base: Any = type("Settings", (BaseSettings, model), {})
    base.model_config = {
        **base.model_config,
        "extra": "forbid",
        "cli_prog_name": prog,
        "cli_exit_on_error": False,
        "cli_implicit_flags": True,
    }
    base.__doc__ = description + "\n\n--config FILE reads settings from YAML; of several a later one wins."
    words = _switches(argv, model)
    try:
        return dict(CliSettingsSource(base, cli_parse_args=words)())
    except SettingsError as error:
        raise ConfigError(_explain_flags(str(error), words, model)) from error


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """The sections of `model` as it sets them; what is given changes these key by key."""
    defaults = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in model.model_fields.items()
        if forms.section(field.annotation)
    }
    return {name: value.model_dump() for name, value in defaults.items() if isinstance(value, BaseModel)}


def _mark_given(filled: Model, given: Any) -> Model:
    """`filled` with `model_fields_set` reduced to the keys that occur in the mapping `given`."""
    given = given if isinstance(given, dict) else {}
    values = {
        name: _mark_given(value, given.get(name)) if isinstance(value, BaseModel) else value
        for name, value in filled
    }
    return filled.model_construct(_fields_set=set(given), **values)


def _follow(given: dict[str, Any], follower: list[str], leader: list[str]) -> None:
    """Puts what was given at the path `leader` under what was given at the path `follower`."""
    theirs: Any = given
    for name in leader:
        if not isinstance(theirs, dict) or name not in theirs:
            return
        theirs = theirs[name]
    mine: Any = given
    for name in follower[:-1]:
        mine = mine.setdefault(name, {})
        if not isinstance(mine, dict):
            return  # which is an error that will be found
    own = mine.get(follower[-1], {})
    if isinstance(own, dict) and isinstance(theirs, dict):
        mine[follower[-1]] = _over(theirs, own)
    else:
        mine.setdefault(follower[-1], theirs)


def _without_empty_sections(model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """`given`, where a section of comments only, which YAML reads as null, gives nothing."""
    kept = {}
    for name, value in given.items():
        field = model.model_fields.get(name)
        section = forms.section(field.annotation) if field is not None else None
        if section is not None and value is None:
            continue
        if section is not None and isinstance(value, dict):
            value = _without_empty_sections(section, value)
        kept[name] = value
    return kept


def _take_config_files(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    rest: list[str] = []
    content: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        if word == "--config" or word.startswith("--config="):
            name = word.partition("=")[2] or next(words, "")
            content = _over(content, read_yaml(name))
        else:
            rest.append(word)
    return rest, content


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both mappings as one; of what both have, sections are put together and else `above` wins."""
    merged = below | above
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _over(below[name], above[name])
    return merged


def _switches(argv: list[str], model: type[BaseModel]) -> list[str]:
    """Booleans as argparse knows them: `--key false` and `--key=false` become `--no-key`."""
    booleans = {f"--{key}" for key, kind in known_keys(model).items() if kind is bool}
    words: list[str] = []
    rest = list(argv)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if word not in booleans:
            words.append(word + equals + value)
            continue
        if not equals and rest and not rest[0].startswith("--"):
            equals, value = "=", rest.pop(0)
        if equals and value.lower() not in _WORDS:
            raise ConfigError(f"setting '{word[2:]}' should be true or false, got '{value}'")
        words.append(word if not equals or _WORDS[value.lower()] else f"--no-{word[2:]}")
    return words


def read_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if it cannot be read or is no mapping."""
    if not path:
        raise ConfigError("--config should be followed by the path of a YAML file, nothing follows")
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--config '{path}' cannot be read: {error}") from error
    if content is None:  # an empty file, or one of comments only
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"--config '{path}' should be a mapping of sections, is {type(content).__name__}")
    return content


def _read_environment(model: type[BaseModel]) -> dict[str, Any]:
    """The settings that FACAP_* variables give, nested; a variable that names none is a ConfigError."""
    known = known_keys(model)
    given: dict[str, Any] = {}
    for variable in sorted(os.environ):
        if variable.upper().startswith(ENV_PREFIX):
            key = variable[len(ENV_PREFIX) :].lower().replace("__", ".")
            if key not in known:
                raise ConfigError(
                    f"environment variable {variable}: unknown setting '{key}'{_nearest(key, model)}"
                )
            value = _from_text(os.environ[variable], known[key])
            for name in reversed(key.split(".")):
                value = {name: value}
            given = _over(given, value)
    return given


def _from_text(text: str, kind: Any) -> Any:
    """A variable's text as a value of this type, so far as this can be told; lists as flags have them."""
    if text == "null" and types.NoneType in forms.kinds(kind):
        return None
    listed = forms.is_list(kind)
    if text[:1] in ("[", "{") and (listed or forms.is_mapping(kind) or forms.section(kind)):
        try:
            return json.loads(text)
        except ValueError:
            return text  # which has the wrong form
    if listed and str not in forms.kinds(kind):
        return [part.strip() for part in text.split(",")] if text.strip() else []
    return text


def _nearest(key: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(key, known_keys(model), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else "; --help lists the settings"


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting '{key}'{_nearest(key, model)}"
    where = f"setting '{key}': " if key else ""
    if first["type"] == "value_error":  # one of our own validators, which says what it saw
        return where + str(first["ctx"]["error"])
    if _WRONG_FORM.search(first["type"]):
        return forms.explain([str(part) for part in first["loc"]], first["input"], model)
    return f"{where}{first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}"


def _explain_flags(message: str, words: list[str], model: type[BaseModel]) -> str:
    match = re.search(r"unrecognized arguments: (\S+)", message)
    if match:
        key = match.group(1).lstrip("-").partition("=")[0]
        return f"unknown setting '{key}'{_nearest(key, model)}"
    match = re.search(r"Parsing error encountered for ([\w.]+)", message)
    if match:
        return forms.explain(match.group(1).split("."), _typed(match.group(1), words), model)
    match = re.search(r"argument --(\S+): (.*)", message)
    return f"setting '{match.group(1)}': {match.group(2)}" if match else message


def _typed(key: str, words: list[str]) -> str:
    """What follows a flag on the command line."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == f"--{key}":
            return value if equals else after
    return ""
