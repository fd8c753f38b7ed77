"""An OpenAI-compatible server in the place of our own engines: the same questions, the same answers.

    >>> answers = ask(prepared, config, rows_at_a_time=64)          # doctest: +SKIP

`prepared` has the columns that the engine gets as well: `prompt` or `messages`, `multimodal_data`,
`sampling_params` and FAILURE. Pictures go along as PNG, in chats only. Busy and broken servers are asked
again, with pauses. What comes of it:

- an answer that is none (see reply), and a request that is refused, are failed rows;
- so is one for which the server stays busy or broken while it answers others;
- a server that cannot be reached, refuses us (401, 403, 404 and the like), or answers nothing any more stops
the stage, and the next run goes on from what is written.
"""

import asyncio
import base64
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from facap.annotate import reply
from facap.annotate.config import EndpointConfig, GenerationConfig
from facap.annotate.reply import Reply
from facap.errors import ConfigError, StageFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from ray.data import Dataset

FAILURE = "__inference_error__"
LOGPROBS = "logprobs"
FINISH_REASON = "finish_reason"
OF_US = (401, 402, 403, 404, 405, 407)  # refusals that every row would get
BUSY = (408, 409, 425, 429)  # and all from 500 on
LARGEST = 2**24  # bytes of an answer; log-probabilities of 10,000 tokens are a tenth of it
ENCODINGS = ("", "identity", "gzip", "deflate")  # whose bombs are small
BROKEN_PAUSE_S = 0.5
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
            models = _names(client.models.with_raw_response.list().text)
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
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"endpoint {endpoint.url} should list its models as JSON, and does not; endpoint.url is the "
            "address of a server up to its /v1"
        ) from error
    if models and config.model not in models:
        raise ConfigError(
            f"endpoint {endpoint.url} has no model '{config.model}'; it has {', '.join(models[:5])}"
        )


def _names(listed: str) -> list[str]:
    """The models of a list; none if its form is another one. Raises ValueError if it is no JSON."""
    models = json.loads(listed)
    try:
        return [str(model["id"]) for model in models["data"]]
    except (TypeError, KeyError):
        return []


def ask(prepared: "Dataset", config: GenerationConfig, rows_at_a_time: int) -> "Dataset":
    """Lazily, `prepared` with `generated_text`, `num_input_tokens`, `num_generated_tokens`, LOGPROBS
    and FINISH_REASON.

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
        self.answered = 0  # requests that the server had something else to say to than to wait

    async def __call__(self, batch: pa.Table) -> pa.Table:
        if self.client is None:  # not in __init__, which has no event loop
            from openai import AsyncOpenAI

            self.client = AsyncOpenAI(
                base_url=self.endpoint.url,
                api_key=self.key.value or "none",
                timeout=self.endpoint.timeout_s,
                max_retries=self.endpoint.attempts - 1,
                default_headers={"Accept-Encoding": "gzip"},
            )
            self.room = asyncio.Semaphore(self.endpoint.max_requests)
        bodies, failures = (batch.column(name).to_pylist() for name in ("body", FAILURE))
        answers = await asyncio.gather(*map(self._answer, bodies, failures))
        columns = zip(*answers, strict=True)
        kept = batch.drop_columns(["body", FAILURE])
        for (name, kind), values in zip(_ANSWER, columns, strict=True):
            kept = kept.append_column(name, pa.array(values, kind))
        return kept

    async def _answer(self, body: str, failure: str) -> tuple:
        """The values of _ANSWER for one row."""
        got = Reply(failure=failure) if failure else await self._ask(json.loads(body))
        return got.text, got.logprobs, got.read, got.written, got.finish_reason, got.failure

    async def _ask(self, request: dict[str, Any]) -> Reply:
        import httpx2  # which openai's client is made of; it leaves the errors of bodies as they are
        import openai

        assert self.client is not None
        api = self.client.chat.completions if "messages" in request else self.client.completions
        url = self.endpoint.url
        async with self.room:
            before = self.answered
            try:
                for left in reversed(range(self.endpoint.attempts)):
                    try:
                        async with api.with_streaming_response.create(**request) as response:
                            self.answered += 1
                            return await _read(response)
                    except httpx2.HTTPError as error:
                        broken = f"the endpoint's answer breaks off ({type(error).__name__}: {error})"
                    await asyncio.sleep(BROKEN_PAUSE_S if left else 0)
                return reply.failed(broken)
            except openai.APIStatusError as error:
                said = f"{error.status_code}: {error.message[:300]}"
                if error.status_code in OF_US:
                    raise StageFailed(f"{url} answered {said}") from error
                if error.status_code < 500 and error.status_code not in BUSY:
                    self.answered += 1
                    return reply.failed(f"the endpoint refused the request: {error.message[:300]}")
                if self.answered == before:
                    raise StageFailed(f"{url} answered {said}") from error
                return reply.failed(f"the endpoint answered others, and this with {said}")
            except openai.APITimeoutError as error:
                if self.answered == before:
                    raise StageFailed(f"{url} does not answer: {error.message}") from error
                return reply.failed(
                    f"the endpoint answered others, and this not in {self.endpoint.timeout_s} s"
                )
            except openai.APIConnectionError as error:
                if not await self._is_there():
                    raise StageFailed(f"{url} does not answer: {error.message}") from error
                return reply.failed("the endpoint is there, and closes the connection on this request")
            except openai.APIError as error:
                raise StageFailed(f"{url} does not answer: {error.message}") from error

    async def _is_there(self) -> bool:
        """Whether the server answers anything at all."""
        import openai

        assert self.client is not None
        try:
            await self.client.with_options(max_retries=0, timeout=CHECK_S).models.with_raw_response.list()
        except openai.APIStatusError:
            return True
        except openai.APIError:
            return False
        return True


async def _read(response: Any) -> Reply:
    """The reply in a response of which only the head has come."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        return reply.failed(f"the endpoint's answer is packed as {encoding[:40]}, which was not asked for")
    chunks, size = [], 0
    async for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST:
            return reply.failed(f"the endpoint's answer has more than {LARGEST:,} bytes")
    return reply.read(b"".join(chunks))


_ANSWER = (
    ("generated_text", pa.string()),
    (LOGPROBS, pa.list_(pa.float64())),
    ("num_input_tokens", pa.int64()),
    ("num_generated_tokens", pa.int64()),
    (FINISH_REASON, pa.string()),
    (FAILURE, pa.string()),
)
