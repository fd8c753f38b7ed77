"""Prompts are jinja2 templates in files; a row records the hash of the template that made it.

    >>> prompt = load("modify_plain")
    >>> prompt.render(reference_caption="a red top", target_caption="a navy top", style="change")
    'reference : a red top target : a navy top change :'

A template of one's own is named by its path (`./prompts/mine.jinja`). What templates may use:
`category` in both stages; `style`, `reference_caption`, `target_caption`, `reference_attributes` and
`target_attributes` (name -> value) in the second. Any other name is a ConfigError.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from facap.errors import ConfigError
from facap.store import fingerprint

FOLDER = Path(__file__).resolve().parent / "prompts"
SUFFIX = ".jinja"


@dataclass(frozen=True)
class Prompt:
    """A template's name and text; picklable, so that workers render."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        """Identifies the template's text, wherever it came from."""
        return fingerprint(self.text)

    def render(self, **values: Any) -> str:
        """The prompt for one row, without blank ends. Raises ConfigError for a name that is not given."""
        try:
            return _compile(self.text).render(**values).strip()
        except jinja2.UndefinedError as error:
            raise ConfigError(
                f"prompt '{self.name}': {error}; it may use {', '.join(sorted(values))}"
            ) from error


@dataclass(frozen=True)
class Prompts:
    """The prompts of a stage: one in common, and those that some categories have of their own."""

    common: Prompt
    own: dict[str, Prompt]

    def of(self, category: str) -> Prompt:
        """The prompt of a row of this category."""
        return self.own.get(category, self.common)

    def hashes(self) -> dict[str, str]:
        """Identifies what is asked: the common prompt under "", and those of categories that differ."""
        hashes = {category: prompt.hash for category, prompt in self.own.items()}
        return {"": self.common.hash} | {c: h for c, h in hashes.items() if h != self.common.hash}


def load_all(template: str, templates: dict[str, str]) -> Prompts:
    """The prompt `template`, and those of `templates` (category -> name). Raises as `load` does."""
    return Prompts(load(template), {category: load(name) for category, name in templates.items()})


def load(name: str) -> Prompt:
    """The shipped prompt `name`, or the one in the file that `name` is the path of.

    Raises ConfigError if there is none or if it is no valid template.
    """
    path = Path(name).expanduser() if name.endswith(SUFFIX) else FOLDER / f"{name}{SUFFIX}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"no prompt '{name}': shipped are {', '.join(shipped())}; "
            f"one of your own is given by the path of a {SUFFIX} file"
        ) from error
    try:
        _compile(text)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"prompt '{name}', line {error.lineno}: {error.message}") from error
    return Prompt(name, text)


def shipped() -> list[str]:
    """Names of the prompts that come with the package."""
    return sorted(file.stem for file in FOLDER.glob(f"*{SUFFIX}"))


def chat(text: str, with_image: bool) -> list[dict[str, Any]]:
    """`text` as the one user message of a chat, after the picture if there is one.

    The picture itself travels beside the messages; the model's chat template puts its marker here.
    """
    if not with_image:
        return [{"role": "user", "content": text}]
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


@cache
def _compile(text: str) -> jinja2.Template:
    environment: SandboxedEnvironment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    return environment.from_string(text)
