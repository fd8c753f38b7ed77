"""Typed settings from defaults, a YAML file, the environment and the command line, in this order.

A stage's settings are one `StageConfig` beside the stage; `parse` fills any such model:

    $ python -m jobs.crawl_images --config facap.yaml --crawl.timeout_s 20
    $ FACAP_CRAWL__TIMEOUT_S=20 python -m jobs.crawl_images

Unknown keys are ConfigErrors that name the nearest known key.
"""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, PydanticBaseSettingsSource, SettingsError

from facap.errors import ConfigError


class StageConfig(BaseModel):
    """Base of every settings model: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting of `model` in dotted form, e.g. "crawl.timeout_s"."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def parse(model: type[Model], argv: list[str], prog: str, description: str) -> Model:
    """`model` filled from `--config FILE`, FACAP_* variables and `--section.key value` flags.

    Raises ConfigError for an unreadable file, an unknown key or a value out of range;
    exits 0 after `--help`.
    """
    argv, from_file = _take_config_file(argv)
    base: Any = type("Settings", (BaseSettings, model), {"settings_customise_sources": _sources(from_file)})
    base.model_config = {
        **base.model_config,
        "extra": "forbid",
        "env_prefix": "FACAP_",
        "env_nested_delimiter": "__",
        "cli_prog_name": prog,
        "cli_exit_on_error": False,
        "cli_implicit_flags": True,
        "nested_model_default_partial_update": True,
    }
    base.__doc__ = description + "\n\n--config FILE reads settings from YAML."
    try:
        settings = base(_cli_settings_source=CliSettingsSource(base, cli_parse_args=argv))
    except SettingsError as error:
        raise ConfigError(_explain_flags(str(error), model)) from error
    except ValidationError as error:
        raise ConfigError(_explain(error, model)) from error
    return model.model_validate(settings.model_dump())


def _take_config_file(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    rest: list[str] = []
    content: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        if word == "--config" or word.startswith("--config="):
            name = word.partition("=")[2] or next(words, "")
            content = read_yaml(name)
        else:
            rest.append(word)
    return rest, content


def read_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if it cannot be read or is no mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--config '{path}' cannot be read: {error}") from error
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


def _nearest(key: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(key, known_keys(model), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else "; --help lists the settings"


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting '{key}'{_nearest(key, model)}"
    return f"setting '{key}': {first['msg'].lower()}, got {first['input']!r}"


def _explain_flags(message: str, model: type[BaseModel]) -> str:
    match = re.search(r"unrecognized arguments: (\S+)", message)
    if not match:
        return message
    key = match.group(1).lstrip("-").partition("=")[0]
    return f"unknown setting '{key}'{_nearest(key, model)}"
