"""The raw answer of any model -> the one text that it was asked for, or why there is none.

    >>> read("<think>navy?</think>Sure! Here is the caption:\\n**A navy dress.**<|im_end|>", max_chars=800)
    'A navy dress.'
    >>> read("I'm sorry, but I can't describe people.", max_chars=800).status
    'refused'

The one way from an answer to a text, for captions, modification texts, JSON and verification. Faults, in
the order in which they are looked for: `too_long` (cut off, whatever it says), `empty` (nothing, or reasoning
that never came to an answer), `refused`, `other_language`, `too_long` (over max_chars) and `unparsable` (JSON
where a text was asked for).
"""

from dataclasses import dataclass

from facap.annotate.characters import legible, unescaped
from facap.annotate.language import foreign
from facap.annotate.reasoning import final
from facap.annotate.refusals import refusal
from facap.annotate.wrapping import unwrap

LONGEST = 200_000  # characters of an answer, which is 40,000 tokens of reasoning
WRAPPED = 10_000  # more characters than any wrapping has around a text


@dataclass(frozen=True)
class Fault:
    """Why an answer is of no use: a status, and one sentence."""

    status: str
    error: str


def read(raw: str, *, max_chars: int, cut_off: bool = False, language: str = "en") -> str | Fault:
    """The text in `raw`, on one line. `cut_off`: max_tokens or the context ended it."""
    said = said_in(raw, cut_off)
    if isinstance(said, Fault):
        return said
    if len(said) > max_chars + WRAPPED:
        return Fault("too_long", f"the text ran over max_chars ({max_chars}): {short(said)}")
    text = unwrap(unescaped(said))
    return fault_of(text, max_chars, language) or text


def said_in(raw: str, cut_off: bool = False) -> str | Fault:
    """What is left of `raw` without reasoning, special tokens and later turns; JSON is still whole."""
    if cut_off:
        return Fault("too_long", f"max_tokens or the model's context ended the answer: {short(raw)}")
    if len(raw) > LONGEST:
        return Fault("too_long", f"the answer has {len(raw):,} characters: {short(raw)}")
    said = final(legible(raw))
    if said is None:
        return Fault("empty", f"the model reasoned and wrote no answer: {short(raw)}")
    return said or Fault("empty", "the model wrote nothing")


def fault_of(text: str, max_chars: int, language: str = "en") -> Fault | None:
    """Why a text without its wrapping is of no use; None if it may be."""
    if not text:
        return Fault("empty", "the model wrote nothing")
    declined = refusal(text)
    if declined:
        return Fault("refused", f"the model declined ('{declined[:60]}'): {short(text)}")
    other = foreign(text) if language == "en" else None
    if other:
        return Fault("other_language", f"the text should be English, and has {other}: {short(text)}")
    if len(text) > max_chars:
        return Fault("too_long", f"the text ran over max_chars ({max_chars}): {short(text)}")
    if text.startswith(('{"', "{'", '[{"', '["')):
        return Fault("unparsable", f"the answer is JSON that holds no one text: {short(text)}")
    return None


def clean(raw: str) -> str:
    """The text in `raw`, on one line, whatever it says; empty if there is none."""
    return unwrap(unescaped((final(legible(raw[:LONGEST])) or "")[:WRAPPED]))


def short(text: str) -> str:
    """The beginning of a text, quoted, for error messages."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
