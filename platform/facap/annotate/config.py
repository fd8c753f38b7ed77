"""Settings of the two annotation stages; importing this is light.

`CaptionConfig` (the VLM) and `ModifyConfig` (the LLM) say what is written; `EngineConfig`, shared
by both, says how vLLM runs, and `EndpointConfig` names a server to ask instead. The defaults are the
embedded size: our tiny models on two CPU cores.
A real run changes `model`, `template`, `chat`, `max_tokens` and `engine.device`:

    >>> config = CaptionConfig(model="/models/vlm-7b", template="caption_fashion", chat=True,
    ...                        prepare="as_is", max_tokens=256, engine=EngineConfig(device="gpu"))
    >>> config.result_settings()["engine"]
    {'dtype': 'auto', 'max_model_len': None, 'engine_kwargs': {}}

`result_settings` is what a stage's key is made from: numbers of workers, batch sizes and limits
are not in it, so changing them redoes nothing.
"""

import difflib
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from facap.config import StageConfig
from facap.schemas import KNOWN_CATEGORIES


class EngineConfig(StageConfig):
    """How vLLM runs: where, how many, how much at once."""

    device: Literal["cpu", "gpu"] = Field(
        "cpu", description="where the engine runs; gpu (not yet run on one by us) reserves whole GPUs"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number type of the weights; auto is float32 on cpu, the checkpoint's on gpu"
    )
    max_model_len: int | None = Field(
        None,
        ge=32,
        description="tokens, prompt, picture and answer together; none is all that the checkpoint allows",
    )
    engine_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="passed to vllm.AsyncEngineArgs last, over everything chosen here"
    )
    num_engines: int = Field(1, ge=1, description="engines side by side (replicas)")
    tensor_parallel_size: int = Field(1, ge=1, description="devices that share one engine's weights")
    batch_size: int = Field(
        64, ge=1, description="rows handed to an engine at once; small loses less when one fails"
    )
    rows_per_part: int = Field(
        128, ge=1, description="finished answers that a kill can lose: two seconds' work of the small models"
    )
    max_num_seqs: int = Field(128, ge=1, description="sequences an engine decodes at once")
    cpu_threads: int = Field(1, ge=1, description="OpenMP threads of an engine, device=cpu only")
    hourly_cost: float = Field(
        0.0, ge=0, description="of one engine, in your currency; with it the cost per thousand rows is told"
    )
    kv_cache_gib: int = Field(1, ge=1, description="GiB of an engine's key-value cache, device=cpu only")

    @field_validator("engine_kwargs")
    @classmethod
    def _names_no_revision(cls, engine_kwargs: dict[str, Any]) -> dict[str, Any]:
        if "revision" in engine_kwargs:  # the engine gets the folder of a snapshot and would pass it over
            raise ValueError("revision belongs to the model's name, as in model: org/name@revision")
        return engine_kwargs

    def resolved_dtype(self) -> str:
        """The dtype that vLLM is told: half precision is slow on most CPUs, so auto is float32 there."""
        return "float32" if self.dtype == "auto" and self.device == "cpu" else self.dtype

    def result_settings(self) -> dict[str, Any]:
        """The settings that can change what is written."""
        return {
            "dtype": self.resolved_dtype(),
            "max_model_len": self.max_model_len,
            "engine_kwargs": self.engine_kwargs,
        }


class EndpointConfig(StageConfig):
    """An OpenAI-compatible server that is asked instead of engines of our own."""

    url: str = Field(
        "", description="address of the server up to its /v1; empty: vLLM on our own workers answers"
    )
    revision: str = Field(
        "", description="what the server runs, where the model's name does not say: another one asks anew"
    )
    api_key_variable: str = Field(
        "OPENAI_API_KEY", min_length=1, description="the environment variable of the job that holds the key"
    )
    max_requests: int = Field(32, ge=1, description="requests under way at once")
    timeout_s: float = Field(120.0, gt=0, description="for one answer, seconds")
    attempts: int = Field(
        6, ge=1, description="how often a busy or broken server is asked before the stage stops"
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ValueError("holds a user name or password, which logs would show; use api_key_variable")
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"should begin with http:// or https://, got '{url}'")
        return url


class GenerationConfig(StageConfig):
    """What both stages have in common: the model, its prompt and its sampling."""

    model: str = Field(description="facap/<name>, a folder, or a hub name, org/name or org/name@revision")
    template: str = Field(description="a prompt of annotate/prompts, or the path of a .jinja file")
    templates: dict[str, str] = Field(
        default_factory=dict, description="category -> the prompt that it has instead of `template`"
    )
    chat: bool = Field(
        False, description="put the prompt into the model's chat template; instruction-following models"
    )
    max_tokens: int = Field(64, ge=1, description="longest answer, tokens; one that reaches it is too_long")
    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy: the same answer every time")
    max_chars: int = Field(
        800, ge=1, description="longest cleaned text, characters; FACap's captions reach 550"
    )
    language: Literal["en", "any"] = Field(
        "en",
        description="en: a text in another language or script is of no use; any: all languages",
    )
    max_failure_rate: float = Field(0.05, ge=0, le=1, description="share of failed rows that stops the job")
    retries: int = Field(
        0,
        ge=0,
        le=5,
        description="how often an answer of no use is asked for again; each time starts the engine",
    )
    repair: str = Field(
        "repair_plain",
        description="the prompt of retries, named as `template` is",
    )
    taxonomy: str = Field(
        "", description="path of a YAML file whose attributes are added to annotate/taxonomy.yaml"
    )
    engine: EngineConfig = Field(
        default_factory=lambda: EngineConfig.model_validate({}), description="how vLLM runs"
    )
    endpoint: EndpointConfig = Field(
        default_factory=lambda: EndpointConfig.model_validate({}),
        description="a server to ask instead; `model` is then its name for the model",
    )

    @field_validator("templates")
    @classmethod
    def _of_known_categories(cls, templates: dict[str, str]) -> dict[str, str]:
        for category in templates:
            if category not in KNOWN_CATEGORIES:
                near = difflib.get_close_matches(category, KNOWN_CATEGORIES, n=1, cutoff=0.5)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                known = ", ".join(KNOWN_CATEGORIES)
                raise ValueError(f"'{category}' is no category{hint}; there are {known}")
        return templates

    @model_validator(mode="after")
    def _fits(self) -> "GenerationConfig":
        longest = self.engine.max_model_len
        if longest is not None and self.max_tokens >= longest:
            raise ValueError(
                f"max_tokens {self.max_tokens} should be below engine.max_model_len {longest}, which"
                f" has to hold the prompt as well"
            )
        return self

    def sampling_params(self) -> dict[str, Any]:
        """What each request tells vLLM."""
        return {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": 0}

    def params(self) -> dict[str, Any]:
        """All that shapes an answer beside model, prompt and picture; rows record the hash of this."""
        return {"sampling": self.sampling_params(), "chat": self.chat, "engine": self._answered_by()}

    def result_settings(self) -> dict[str, Any]:
        """The settings that can change what is written: all but limits and worker counts."""
        # keys take the hash of what these name
        by_content = {"model", "template", "templates", "repair", "taxonomy"}
        limits = {"max_failure_rate", "engine", "endpoint"}
        settings = self.model_dump(mode="json", exclude=limits | by_content)
        return settings | {"sampling": self.sampling_params(), "engine": self._answered_by()}

    def _answered_by(self) -> dict[str, Any]:
        """What the engine is told that can change an answer; of a server we only know what it is called."""
        if self.endpoint.url:
            return {"endpoint": self.endpoint.revision}
        return self.engine.result_settings()


class CaptionConfig(GenerationConfig):
    """Stage 1: a VLM describes every kept image."""

    model: str = Field(
        "facap/tiny-captioner",
        description="the VLM: facap/<name>, a folder, or a hub name with or without @revision",
    )
    template: str = Field(
        "caption_plain", description="a prompt of annotate/prompts, or the path of a .jinja file"
    )
    output: Literal["text", "attributes"] = Field(
        "text",
        description="text: a caption, out of which attributes are read; attributes: JSON that the engine is"
        " held to, with every attribute of the taxonomy and a caption",
    )
    confidence: bool = Field(
        True,
        description="record how probable the model found the least certain token of each caption, by which"
        " pairs.min_confidence chooses; false for servers that tell no log-probabilities",
    )
    check_category: bool = Field(
        True, description="a caption that names only garments of other categories is of no use"
    )
    prepare: Literal["square", "as_is"] = Field(
        "square", description="square: pad and crop to image_px; as_is: the model's own processor does it all"
    )
    image_px: int = Field(128, ge=16, description="side of the prepared picture, px; prepare=square only")

    @model_validator(mode="after")
    def _pictures_in_chats(self) -> "CaptionConfig":
        if self.endpoint.url and not self.chat:
            raise ValueError("endpoint.url needs chat true: servers take pictures in chats only")
        return self

    def sampling_params(self) -> dict[str, Any]:
        """As of both stages, what an answer has to look like, and whether its probability is asked for."""
        told = super().sampling_params()
        if self.confidence:
            told["logprobs"] = 0  # of the tokens that it writes, and no others
        if self.output == "attributes":
            from facap.annotate import structured

            told["structured_outputs"] = {"json": structured.text_of(self.taxonomy)}
        return told

    def params(self) -> dict[str, Any]:
        """As of both stages, and how the picture is prepared."""
        px = self.image_px if self.prepare == "square" else None
        return super().params() | {"picture": {"prepare": self.prepare, "image_px": px}}


class ModifyConfig(GenerationConfig):
    """Stage 2: an LLM writes what has to change from the reference to the target."""

    model: str = Field(
        "facap/tiny-writer",
        description="the LLM: facap/<name>, a folder, or a hub name with or without @revision",
    )
    template: str = Field(
        "modify_plain", description="a prompt of annotate/prompts, or the path of a .jinja file"
    )
    styles: tuple[str, ...] = Field(
        ("change", "change", "instead", "want"),
        min_length=1,
        description="what the template calls `style`: each pair gets one of these by a hash of its ids, so "
        "that the model learns from more than one way to ask",
    )
    candidates: int = Field(
        1, ge=1, le=32, description="texts that each pair is asked for; the best by the checks is kept"
    )
    max_same_text: int = Field(
        0, ge=0, description="pairs that may have the same text, others are duplicate_text; 0 is any number"
    )
    both_directions: bool = Field(
        False, description="also write the text that leads from the target back to the reference"
    )
    max_tokens: int = Field(96, ge=1, description="longest text, tokens; one that reaches it is too_long")
    max_chars: int = Field(400, ge=1, description="longest text, characters; FACap's have 19 to 27 words")
    max_failure_rate: float = Field(
        0.1, ge=0, le=1, description="share of failed rows that stops the job; equal captions are such rows"
    )

    @model_validator(mode="after")
    def _candidates_differ(self) -> "ModifyConfig":
        if self.candidates > 1 and self.temperature == 0:
            raise ValueError(
                f"candidates {self.candidates} needs a temperature above 0, such as 0.7; at 0 all of"
                " them are the same text"
            )
        return self

    def params(self) -> dict[str, Any]:
        """As of both stages, and the number of candidates."""
        return super().params() | {"candidates": self.candidates}
