"""The one place that builds vLLM on Ray Data (`ray.data.llm`), for all stages that ask a model.

    >>> answers = generate(rows, config, request, with_image=True)      # doctest: +SKIP

`rows` is any Ray dataset; `request(row)` returns a `Request` or a `Refusal` for each row and runs
on the workers. `answers` has the columns that `request` keeps plus those of WRITTEN, `confidence` (if it is
asked for), `cut_off` (max_tokens or the context ended it), `failure` and `error` (a row that no engine saw,
that it refused, or whose answer a filter ended). One row in, one row out.

With `config.endpoint.url` a server is asked instead (see endpoint), and nothing else differs.
On CPU an engine is two processes: Ray's actor (image preprocessing, detokenising) and the engine
core with its OpenMP threads. device="gpu" takes vLLM's own defaults; not yet run on a GPU by us.
"""

import importlib.util
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facap.annotate import endpoint
from facap.annotate.config import CaptionConfig, GenerationConfig
from facap.annotate.endpoint import FAILURE, FINISH_REASON, LOGPROBS
from facap.annotate.origin import rendered_hash
from facap.annotate.prompts import chat
from facap.annotate.reply import FILTERED, LENGTH
from facap.environment import unnamed
from facap.errors import ConfigError, StageFailed
from facap.model import checkpoints

if TYPE_CHECKING:
    from PIL.Image import Image
    from ray.data import Dataset

REFUSED = "engine_error"
DECLINED = "refused"
VLLM_LEVEL = "VLLM_LOGGING_LEVEL"
WRITTEN = (
    "rendered_hash",
    "raw",
    "prompt_tokens",
    "written_tokens",
)  # of an answer, as rows keep it


@dataclass(frozen=True)
class Request:
    """What the engine gets for one row; `keep` is carried through."""

    keep: dict[str, Any]
    prompt: str
    image: "Image | None" = None
    seed: int = 0  # of its sampling
    rendered_hash: str = ""  # what the row says that it was asked; empty: the prompt's
    spent: tuple[int, int] = (0, 0)  # tokens read and written for earlier answers, which count for the row


@dataclass(frozen=True)
class Refusal:
    """A row that must not reach the engine: its status and one sentence on it."""

    keep: dict[str, Any]
    status: str
    error: str


def about_picture(data: bytes, config: CaptionConfig, keep: dict[str, Any], prompt: str) -> Request | Refusal:
    """`prompt` about the picture in `bytes` of an IMAGES row, prepared as `config` says."""
    from facap.model.preprocess import decode, square

    try:
        image = decode(data)
        if config.prepare == "square":
            image = square(image, config.image_px)
    except (OSError, SyntaxError, ValueError, TypeError) as error:  # what PIL raises on bad bytes
        return Refusal(keep, "undecodable", f"the picture cannot be decoded: {error}")
    return Request(keep, prompt, image)


def generate(
    rows: "Dataset",
    config: GenerationConfig,
    request: Callable[[dict], Request | Refusal],
    with_image: bool,
    together: int = 1,
) -> "Dataset":
    """Lazily, `rows` answered by the model. Raises ConfigError if there is no vLLM, or no such server.

    The number of rows in each block of `rows` is a multiple of `together`; rows that many at a time share
    a batch and come out in one block, in their order.
    """
    sampling = config.sampling_params()
    prepare = _Prepare(request, sampling, config.chat, with_image)
    size = rows_at_a_time(config, together)
    if config.endpoint.url:
        endpoint.check(config)
        return endpoint.ask(rows.map(prepare), config, size).map(_Answer(config.max_tokens))
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError("vLLM is not installed; install facap[cpu] or facap[gpu]")
    from ray.data.llm import build_processor
    from vllm.sampling_params import RequestOutputKind

    # one answer when it is whole; else the actor makes and drops one after every token
    prepare.sampling = sampling | {"output_kind": RequestOutputKind.FINAL_ONLY}
    processor = build_processor(_processor_config(config, size), preprocess=prepare)
    return processor(rows).map(_Answer(config.max_tokens, context(config)))


def context(config: GenerationConfig) -> int | None:
    """Tokens that prompt, picture and answer have together in the engine; None if this machine cannot tell.

    ray.data.llm does not pass vLLM's finish reason on, so what the context ends is told by the sum.
    """
    from vllm import AsyncEngineArgs

    kwargs = engine_kwargs(config)
    if isinstance(kwargs["max_model_len"], int) and kwargs["max_model_len"] > 0:
        return kwargs["max_model_len"]
    try:
        made = AsyncEngineArgs(model=checkpoints.resolve(config.model), **kwargs).create_model_config()
    except Exception as error:  # of any kind, as where vLLM for GPUs runs on a head node without one
        logging.getLogger(__name__).warning(
            "the context of %s is not known here (%s); set engine.max_model_len, or answers that the context "
            "ends pass as whole",
            config.model,
            error,
        )
        return None
    return made.max_model_len


def rows_at_a_time(config: GenerationConfig, together: int) -> int:
    """The rows of a batch: as many as the settings say, but no group of `together` falls into two."""
    return math.ceil(config.engine.batch_size / together) * together


def starting(config: GenerationConfig) -> str:
    """What a stage waits for before its first answer, in a few words."""
    if config.endpoint.url:
        return f"asking {config.endpoint.url}"
    return "starting the engine (about 30 s)"


class _Prepare:
    """Row -> the columns that ray.data.llm wants, and nothing else of the row."""

    def __init__(self, request: Callable, sampling: dict, chat: bool, with_image: bool) -> None:
        self.request, self.sampling, self.chat, self.with_image = request, sampling, chat, with_image

    def __call__(self, row: dict) -> dict:
        made = self.request(row)
        row.clear()  # ray.data.llm carries what is left of the row through every step
        columns: dict[str, Any]
        if isinstance(made, Refusal):
            columns = {"status": made.status, FAILURE: made.error, "rendered_hash": ""}
            made = Request(made.keep, "-")
        else:
            asked = made.rendered_hash or rendered_hash(made.prompt)
            columns = {"status": "", FAILURE: "", "rendered_hash": asked}
        columns |= {
            "keep": made.keep,
            "spent_read": made.spent[0],
            "spent_written": made.spent[1],
            "sampling_params": self.sampling | {"seed": made.seed},
        }
        if self.chat:
            columns["messages"] = chat(made.prompt, self.with_image)
        else:
            columns["prompt"] = made.prompt
        if self.with_image:
            columns["multimodal_data"] = {"image": made.image}
        return columns


class _Answer:
    """The engine's columns -> keep + raw, tokens, confidence, cut_off, failure, error."""

    def __init__(self, max_tokens: int, context: int | None = None) -> None:
        self.max_tokens, self.context = max_tokens, context

    def __call__(self, row: dict) -> dict:
        error = row[FAILURE] or None
        failure = (row["status"] or REFUSED) if error else None
        if not error and row.get(FINISH_REASON) == FILTERED:
            failure, error = DECLINED, "the endpoint's content filter ended the answer"
        unanswered = bool(row[FAILURE])
        return row["keep"] | {
            "rendered_hash": row["rendered_hash"] or None,
            "raw": None if unanswered else row["generated_text"],
            "prompt_tokens": _tokens(row["spent_read"], None if unanswered else row["num_input_tokens"]),
            "written_tokens": _tokens(
                row["spent_written"], None if unanswered else row["num_generated_tokens"]
            ),
            "confidence": None if unanswered else confidence(row.get(LOGPROBS)),
            "cut_off": not unanswered and self._is_cut_off(row),
            "failure": failure,
            "error": error,
        }

    def _is_cut_off(self, row: dict) -> bool:
        """Whether something else than the model ended its answer."""
        read, written = row["num_input_tokens"] or 0, row["num_generated_tokens"] or 0
        at_limit = written >= self.max_tokens or (self.context is not None and read + written >= self.context)
        return at_limit or row.get(FINISH_REASON) == LENGTH


def confidence(logprobs: Any) -> float | None:
    """The probability of the least certain token, 0 to 1. `logprobs`: of each token, vLLM's own or a number.

    >>> confidence([{17: {"logprob": 0.0}}, {4: {"logprob": -0.7}}])
    0.4966
    """
    if logprobs is None or not len(logprobs):
        return None
    least = min(one if isinstance(one, float) else next(iter(one.values()))["logprob"] for one in logprobs)
    return round(math.exp(least), 4)


def _tokens(spent: int, more: int | None) -> int | None:
    return spent or None if more is None else spent + more


def _processor_config(config: GenerationConfig, batch_size: int) -> Any:
    from ray.data.llm import vLLMEngineProcessorConfig

    engine = config.engine
    bundles = {"bundles": [{"CPU": 1}] * engine.tensor_parallel_size}
    template = checkpoints.chat_template(config.model) if config.chat else None
    source, revision = checkpoints.to_load(config.model)
    commit = {"revision": revision, "tokenizer_revision": revision} if revision else {}
    return vLLMEngineProcessorConfig(
        model_source=source,
        engine_kwargs=commit | engine_kwargs(config),
        batch_size=batch_size,
        concurrency=(engine.num_engines, engine.num_engines),
        runtime_env={"env_vars": unnamed(environment(config))},
        should_continue_on_error=True,  # one bad row must not fail the job
        chat_template_stage={"enabled": config.chat, "chat_template": template},
        tokenize_stage=False,  # vLLM does both itself; pictures need the prompt as text
        detokenize_stage=False,
        log_engine_metrics=False,
        placement_group_config=bundles if engine.device == "cpu" else None,
    )


def engine_kwargs(config: GenerationConfig) -> dict[str, Any]:
    """The arguments of vLLM's engine; the settings' own engine_kwargs win."""
    engine = config.engine
    kwargs: dict[str, Any] = {
        "dtype": engine.resolved_dtype(),
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "disable_log_stats": True,
        "mm_processor_cache_gb": 0,  # every picture comes once: hashing and caching it is waste
    }
    if "structured_outputs" in config.sampling_params():
        # Else a model that has not learnt to write JSON may fill its answer with blanks.
        kwargs["structured_outputs_config"] = {"backend": "guidance", "disable_any_whitespace": True}
    if engine.device == "cpu":
        kwargs |= {"enforce_eager": True}  # compiling takes longer than small models run
    return kwargs | engine.engine_kwargs


def environment(config: GenerationConfig) -> dict[str, str]:
    """Environment variables of the engine's processes."""
    variables = {VLLM_LEVEL: "WARNING"}
    engine = config.engine
    if engine.device == "cpu":
        variables |= {
            "VLLM_CPU_KVCACHE_SPACE": str(engine.kv_cache_gib),
            "OMP_NUM_THREADS": str(engine.cpu_threads),
        }
        if engine.tensor_parallel_size == 1:
            # The worker inside the engine core instead of a third process: one import of vLLM
            # (10 s of CPU) less. OpenMP's threads then come from OMP_NUM_THREADS.
            variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return variables


@contextmanager
def quiet() -> Iterator[None]:
    """Ray Data and vLLM without progress bars and console messages; log files still get everything."""
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.actor_init_retry_on_errors = False  # a model that cannot be loaded stays so
    logging.getLogger("ray.llm").addHandler(logging.NullHandler())  # else it prints to the console
    consoles = [
        handler
        for name in ("ray", "ray.data")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]
    levels = [handler.level for handler in consoles]
    vllm_level = os.environ.get(VLLM_LEVEL)
    os.environ[VLLM_LEVEL] = "ERROR"  # read when vLLM is imported, which building a processor does
    for handler in consoles:
        handler.setLevel(logging.CRITICAL)
    try:
        with DataContext.current(context):
            yield
    finally:
        for handler, level in zip(consoles, levels, strict=True):
            handler.setLevel(level)
        os.environ.pop(VLLM_LEVEL)
        if vllm_level is not None:
            os.environ[VLLM_LEVEL] = vllm_level


@contextmanager
def explained(stage: str) -> Iterator[None]:
    """Ray's and vLLM's failures as a StageFailed that names the cause in one sentence."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise StageFailed(
            f"{stage}: the engine stopped ({_cause(str(error))}); what was written is kept, run again "
            "to go on. vLLM's own messages are in Ray's worker logs"
        ) from error


def _cause(trace: str) -> str:
    """The last error that a traceback names, on one line; not what Ray wraps it into."""
    lines = trace.strip().splitlines()
    named = [
        i
        for i, line in enumerate(lines)
        if re.match(r"[\w.]*(?:Error|Exception|StageFailed)\b", line) and "UserCodeException" not in line
    ]
    last = lines[named[-1] :] if named else lines[-1:]
    until = last.index("") if "" in last else len(last)
    return " ".join(" ".join(last[:until]).removeprefix("facap.errors.StageFailed: ").split())[:300]
