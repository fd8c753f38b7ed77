"""What an OpenAI-compatible server sent -> the text, or why there is none. Nothing here raises.

    >>> read(b'{"choices": [{"message": {"content": "a red dress"}, "finish_reason": "stop"}]}').text
    'a red dress'
    >>> read(b'{"error": {"message": "out of memory", "code": 502}}').failure
    'the endpoint answered with an error: out of memory'

Servers leave fields out, send null, or an error with status 200. Of the finish reasons two count: "length",
by which an answer is cut off whatever its tokens are, and those of content filters.
"""

import json
from dataclasses import dataclass
from typing import Any

from facap.annotate.answer import short

LENGTH, FILTERED = "length", "content_filter"
_FINISHED = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), LENGTH),
    **dict.fromkeys(
        ("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "refusal", "sensitive"),
        FILTERED,
    ),
}
_MOST_TOKENS = 2**31
_LEAST_LIKELY = 1e6  # the size of a log-probability that is a number


@dataclass(frozen=True)
class Reply:
    """One answer of a server. `failure`: why there is none. Tokens and log-probabilities may be unknown."""

    text: str = ""
    logprobs: list[float] | None = None
    read: int | None = None
    written: int | None = None
    finish_reason: str = ""  # LENGTH, FILTERED, or of no consequence
    failure: str = ""


def read(body: bytes) -> Reply:
    """The reply that the JSON of a chat or of a completion is."""
    try:
        reply = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return failed(f"the endpoint answered with something else than JSON: {_beginning(body)}")
    if not isinstance(reply, dict):
        return failed(f"the endpoint answered with no object: {_beginning(body)}")
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = reply.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if error:
        return failed(f"the endpoint answered with an error: {_message(error)}")
    if not isinstance(choice, dict):
        return failed(f"the endpoint answered without a choice: {_beginning(body)}")
    usage, message = _object(reply.get("usage")), _object(choice.get("message"))
    read, written = _tokens(usage.get("prompt_tokens")), _tokens(usage.get("completion_tokens"))
    finish_reason = _FINISHED.get(_as_text(choice.get("finish_reason")).lower(), "")
    text = _text(message.get("content")) or _text(message.get("refusal")) or _text(choice.get("text"))
    if message.get("refusal"):
        finish_reason = finish_reason or FILTERED
    answered = {"content", "refusal"} & message.keys() or "text" in choice
    if not answered and not finish_reason:  # an answer of nothing is an answer, and the model's
        return failed(f"the endpoint answered without a message: {_beginning(body)}")
    return Reply(text, _logprobs(choice.get("logprobs")), read, written, finish_reason)


def failed(why: str) -> Reply:
    """A reply that has no answer."""
    return Reply(failure=_writable(why)[:400])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(content: Any) -> str:
    """A content as one text: it may be a list of parts, of which pictures and the like have none."""
    if isinstance(content, str):
        return _writable(content)
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, dict) else part for part in content[:1000])
        return "".join(_writable(part) for part in parts if isinstance(part, str))
    return ""


def _tokens(count: Any) -> int | None:
    if isinstance(count, bool) or not isinstance(count, (int, float)):
        return None
    return int(count) if 0 <= count < _MOST_TOKENS else None  # NaN is in no range


def _logprobs(told: Any) -> list[float] | None:
    """Of each token, as chats (`content`) or completions (`token_logprobs`) tell them; None unless of all."""
    if not isinstance(told, dict):
        return None
    of_chat = told.get("content")
    values = of_chat if isinstance(of_chat, list) else told.get("token_logprobs")
    if not isinstance(values, list):
        return None
    found = [_number(one.get("logprob") if isinstance(one, dict) else one) for one in values]
    known = [min(one, 0.0) for one in found if one is not None]
    return known if len(known) == len(found) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < _LEAST_LIKELY else None


def _message(error: Any) -> str:
    said = error.get("message") or error.get("code") if isinstance(error, dict) else error
    return (_as_text(said) if said else "it does not say which")[:300]


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:
        return "values too deep in one another"


def _beginning(body: bytes) -> str:
    return short(body[:300].decode("utf-8", "replace"))


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
