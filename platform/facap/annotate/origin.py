"""What annotation rows say of how they were made: the model, the prompt and the parameters, by their content.

    >>> origin = Origin(CaptionConfig(templates={"dress": "caption_fashion"}))
    >>> origin.of("dress")["prompt_hash"] == origin.of("top")["prompt_hash"]
    False

An answer that a row of an equal origin and an equal `rendered_hash` holds need not be asked for again.
"""

from typing import Any, TypeVar

from facap.annotate import prompts, taxonomy
from facap.annotate.config import GenerationConfig
from facap.model import checkpoints
from facap.store import fingerprint, stage_key

Config = TypeVar("Config", bound=GenerationConfig)
REQUESTS = 1  # raised when what an engine gets for equal settings changes, as by another way to crop


def rendered_hash(prompt: str) -> str:
    """Identifies the prompt of one row, as it was rendered."""
    return fingerprint(prompt)


def repaired_hash(rendered: str, repair: str) -> str:
    """Identifies the prompt of a row that was asked again: by its first prompt and the repair template."""
    return fingerprint([rendered, repair])


class Origin:
    """The origin of the rows that `config` makes. Picklable, so that workers fill rows with it."""

    def __init__(self, config: GenerationConfig) -> None:
        self.prompts = prompts.load_all(config.template, config.templates)
        self.model = label(config)
        self.params_hash = fingerprint([REQUESTS, config.params()])
        self.repair = prompts.load(config.repair).hash if config.retries else None

    def of(self, category: str) -> dict[str, str]:
        """The columns of a row of this category."""
        prompt_hash = self.prompts.of(category).hash
        return {"model": self.model, "prompt_hash": prompt_hash, "params_hash": self.params_hash}

    def hashes(self, prompt: str) -> set[str]:
        """The `rendered_hash` of rows that answer `prompt`, at the first go or after repair."""
        first = rendered_hash(prompt)
        return {first} if self.repair is None else {first, repaired_hash(first, self.repair)}


def pinned(config: Config) -> Config:
    """`config` whose model, if it is a hub's, is named with the commit that it stands for now.

    Raises ModelMissing if it cannot be had.
    """
    if config.endpoint.url:
        return config
    return config.model_copy(update={"model": checkpoints.pinned(config.model)})


def label(config: GenerationConfig) -> str:
    """Who answers: a checkpoint by its content, a server's model by its name and the revision given."""
    if config.endpoint.url:
        return f"{config.model}@{config.endpoint.revision or 'endpoint'}"
    return checkpoints.label(config.model)


def key(stage: str, version: int, config: GenerationConfig, inputs: dict[str, str]) -> str:
    """The key of the version that `config` makes from inputs of these fingerprints."""
    origin = Origin(config)
    named: dict[str, Any] = {
        "model": origin.model,
        "prompts": origin.prompts.hashes(),
        "params_hash": origin.params_hash,
        "repair": origin.repair,
        "taxonomy": fingerprint(taxonomy.text_of(config.taxonomy)),
    }
    return stage_key(stage, version, config.result_settings() | {"by_content": named}, inputs)
