"""Typed settings from defaults, YAML files, the environment and the command line, in this order.

A stage's settings are one `StageConfig` beside the stage; `parse` fills any such model:

    $ python -m jobs.crawl_images --config facap.yaml --crawl.read_timeout_s 20
    $ FACAP_CRAWL__READ_TIMEOUT_S=20 python -m jobs.crawl_images

Of several `--config` files a later one wins, setting by setting. Every flag takes a value; a boolean one may
also stand alone (`--crawl.obey_robots`, or with `--no-` before its name).
Unknown keys are ConfigErrors that name the nearest known key.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from facap.errors import ConfigError


class StageConfig(BaseModel):
    """Base of every settings model: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)

ENV_PREFIX = "FACAP_"
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def known_keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every setting of `model` in dotted form and its type, e.g. {"crawl.timeout_s": float}."""
    keys: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        keys[prefix + name] = field.annotation
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def parse(model: type[Model], argv: list[str], prog: str, description: str) -> Model:
    """`model` filled from `--config FILE`, FACAP_* variables and `--section.key value` flags.

    `model_fields_set`, of every section too, has just the settings that one of the three gave.
    Raises ConfigError for an unreadable file, an unknown key or a value out of range; exits 0
    after `--help`.
    """
    argv, from_file = _take_config_files(argv)
    _check_environment(model)
    base: Any = type("Settings", (BaseSettings, model), {"settings_customise_sources": _sources(from_file)})
    base.model_config = {
        **base.model_config,
        "extra": "forbid",
        "env_prefix": ENV_PREFIX,
        "env_nested_delimiter": "__",
        "cli_prog_name": prog,
        "cli_exit_on_error": False,
        "cli_implicit_flags": True,
        "nested_model_default_partial_update": True,
    }
    base.__doc__ = description + "\n\n--config FILE reads settings from YAML; of several a later one wins."
    try:
        flags: Any = CliSettingsSource(base, cli_parse_args=_switches(argv, model))
        settings = base(_cli_settings_source=flags)
    except SettingsError as error:
        raise ConfigError(_explain_flags(str(error), model)) from error
    except ValidationError as error:
        raise ConfigError(_explain(error, model)) from error
    given = [from_file, EnvSettingsSource(base)(), flags()]
    return _mark_given(model.model_validate(settings.model_dump()), given)


def _mark_given(filled: Model, given: list[Any]) -> Model:
    """`filled` with `model_fields_set` reduced to the keys that occur in one of the `given` mappings."""
    mappings = [source for source in given if isinstance(source, dict)]
    values = {
        name: _mark_given(value, [source.get(name) for source in mappings])
        if isinstance(value, BaseModel)
        else value
        for name, value in filled
    }
    return filled.model_construct(_fields_set=set().union(*mappings), **values)


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


def _sources(from_file: dict[str, Any]) -> classmethod:
    def order(
        cls: type[BaseSettings],
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[Any, ...]:
        return init_settings, env_settings, lambda: from_file

    return classmethod(order)


def _check_environment(model: type[BaseModel]) -> None:
    """Unknown variables are errors too: pydantic-settings would pass over them in silence."""
    known = known_keys(model)
    for variable in sorted(os.environ):
        if variable.upper().startswith(ENV_PREFIX):
            key = variable[len(ENV_PREFIX) :].lower().replace("__", ".")
            if key not in known:
                raise ConfigError(
                    f"environment variable {variable}: unknown setting '{key}'{_nearest(key, model)}"
                )


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
    return f"{where}{first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}"


def _explain_flags(message: str, model: type[BaseModel]) -> str:
    match = re.search(r"unrecognized arguments: (\S+)", message)
    if match:
        key = match.group(1).lstrip("-").partition("=")[0]
        return f"unknown setting '{key}'{_nearest(key, model)}"
    match = re.search(r'error parsing value for field "(\w+)"', message)
    if match:
        return f"setting '{match.group(1)}' cannot be read as JSON; set its keys one by one, see --help"
    match = re.search(r"argument --(\S+): (.*)", message)
    return f"setting '{match.group(1)}': {match.group(2)}" if match else message
