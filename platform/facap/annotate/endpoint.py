"""An OpenAI-compatible server in the place of our own engines: the same questions, the same answers.

    >>> answers = ask(prepared, config, rows_at_a_time=64)          # doctest: +SKIP

`prepared` has the columns that the engine gets as well: `prompt` or `messages`, `multimodal_data`,
`sampling_params` and FAILURE. Pictures go along as PNG, in chats only. A request that the server refuses
(400, 413, 422) is a failed row. Busy and broken servers are asked again, with pauses; one that stays so, or
refuses us, stops the stage, and the next run goes on from what is written.
"""

import asyncio
import base64
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from facap.annotate.config import EndpointConfig, GenerationConfig
from facap.errors import ConfigError, StageFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from ray.data import Dataset

FAILURE = "__inference_error__"
LOGPROBS = "logprobs"
REFUSALS = (400, 413, 422)  # of this row; any other refusal is of us
CHECK_S = 20.0


class _Key:
    """The API key; what prints or logs an object that holds it shows nothing."""

    def __init__(self, variable: str) -> None:
        self.variable, self.value = variable, os.environ.get(variable, "")

    def __repr__(self) -> str:
        return f"<key of {self.variable}>"


def check(config: GenerationConfig) -> None:
    """Raises ConfigError, with what to do, if the server cannot be asked or does not have the model."""
    import openai

    endpoint = config.endpoint
    key = _Key(endpoint.api_key_variable)
    try:
        with openai.OpenAI(
            base_url=endpoint.url, api_key=key.value or "none", timeout=CHECK_S, max_retries=1
        ) as client:
            models = [model.id for model in client.models.list()]
    except openai.NotFoundError:  # not every server lists its models
        return
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        state = "is refused" if key.value else "is not set"
        raise ConfigError(
            f"endpoint {endpoint.url} wants a key, and {key.variable} {state}; set it where the job runs"
        ) from error
    except openai.APIError as error:
        raise ConfigError(
            f"endpoint {endpoint.url} does not answer ({error.message}); start the server or set endpoint.url"
        ) from error
    if models and config.model not in models:
        raise ConfigError(
            f"endpoint {endpoint.url} has no model '{config.model}'; it has {', '.join(models[:5])}"
        )


def ask(prepared: "Dataset", config: GenerationConfig, rows_at_a_time: int) -> "Dataset":
    """Lazily, `prepared` with `generated_text`, `num_input_tokens`, `num_generated_tokens` and LOGPROBS.

    Rows keep their order within `rows_at_a_time`, which come out in one block.
    """
    import ray.data

    batches_at_a_time = 1 + -(-config.endpoint.max_requests // rows_at_a_time)  # the next waits for the last
    return prepared.map(_Compose(config)).map_batches(
        _Client,
        fn_constructor_args=(config.endpoint, _Key(config.endpoint.api_key_variable)),
        batch_format="pyarrow",
        batch_size=rows_at_a_time,
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(
            size=1,
            max_tasks_in_flight_per_actor=batches_at_a_time,
            max_concurrent_calls_per_actor=batches_at_a_time,
        ),
        num_cpus=0.1,  # it waits
    )


class _Compose:
    """The columns of a prepared row -> the body of its request, as JSON; empty for a failed row."""

    def __init__(self, config: GenerationConfig) -> None:
        self.model = config.model

    def __call__(self, row: dict) -> dict:
        body: dict[str, Any] = {"model": self.model} | row.pop("sampling_params")
        if structured := body.pop("structured_outputs", None):
            schema = {"name": "garment", "strict": True, "schema": json.loads(structured["json"])}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if (wanted := body.pop("logprobs", None)) is not None:
            body["logprobs"] = True if "messages" in row else wanted  # chats have another parameter for it
        media = row.pop("multimodal_data", None)
        prompt, messages = row.pop("prompt", None), row.pop("messages", None)
        if messages is None:
            body["prompt"] = prompt
        else:
            body["messages"] = [_with_picture(message, media) for message in messages]
        row["body"] = "" if row[FAILURE] else json.dumps(body)
        return row


def _with_picture(message: dict[str, Any], media: dict[str, Any] | None) -> dict[str, Any]:
    if media is None or media["image"] is None or isinstance(message["content"], str):
        return message
    out = io.BytesIO()
    media["image"].save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}} if part["type"] == "image" else part
        for part in message["content"]
    ]
    return message | {"content": content}


class _Client:
    """The asynchronous actor that asks; one for all, since it only waits."""

    def __init__(self, endpoint: EndpointConfig, key: _Key) -> None:
        self.endpoint, self.key = endpoint, key
        self.client: AsyncOpenAI | None = None

    async def __call__(self, batch: pa.Table) -> pa.Table:
        if self.client is None:  # not in __init__, which has no event loop
            from openai import AsyncOpenAI

            self.client = AsyncOpenAI(
                base_url=self.endpoint.url,
                api_key=self.key.value or "none",
                timeout=self.endpoint.timeout_s,
                max_retries=self.endpoint.attempts - 1,
            )
            self.room = asyncio.Semaphore(self.endpoint.max_requests)
        bodies, failures = (batch.column(name).to_pylist() for name in ("body", FAILURE))
        answers = await asyncio.gather(*map(self._answer, bodies, failures))
        columns = zip(*answers, strict=True)
        kept = batch.drop_columns(["body", FAILURE])
        for (name, kind), values in zip(_ANSWER, columns, strict=True):
            kept = kept.append_column(name, pa.array(values, kind))
        return kept

    async def _answer(self, body: str, failure: str) -> tuple[str, list[float] | None, int, int, str]:
        """The text, its tokens' log-probabilities, the tokens read and written, and why there is none."""
        if failure:
            return "", None, 0, 0, failure
        import openai

        assert self.client is not None
        request = json.loads(body)
        try:
            async with self.room:
                if "messages" in request:
                    reply: Any = await self.client.chat.completions.create(**request)
                    text, told = reply.choices[0].message.content, reply.choices[0].logprobs
                    logprobs = [one.logprob for one in told.content or []] if told else None
                else:
                    reply = await self.client.completions.create(**request)
                    text, told = reply.choices[0].text, reply.choices[0].logprobs
                    logprobs = told.token_logprobs if told else None
        except openai.APIStatusError as error:
            if error.status_code in REFUSALS:
                return "", None, 0, 0, f"the endpoint refused the request: {error.message[:300]}"
            raise StageFailed(f"{self.endpoint.url} answered {error.status_code}: {error.message}") from error
        except openai.APIError as error:
            raise StageFailed(f"{self.endpoint.url} does not answer: {error.message}") from error
        if reply.usage is None:
            return text or "", logprobs, 0, 0, ""
        return text or "", logprobs, reply.usage.prompt_tokens, reply.usage.completion_tokens, ""


_ANSWER = (
    ("generated_text", pa.string()),
    (LOGPROBS, pa.list_(pa.float64())),
    ("num_input_tokens", pa.int64()),
    ("num_generated_tokens", pa.int64()),
    (FAILURE, pa.string()),
)
