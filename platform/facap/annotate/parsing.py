"""What a model wrote -> a clean text, or the reason why it is of no use. Nothing here raises.

    >>> parse_caption(' Caption: "A navy cotton dress with long sleeves." ').text
    'A navy cotton dress with long sleeves.'
    >>> parse_caption("the the the the the the").status
    'unparsable'

The text is got out of the answer by annotate/answer.py, whose reasons come first: `too_long`, `empty`,
`refused`, `other_language`. Then `unparsable` (no words, a loop, or, in a caption, nothing of the taxonomy).
Then of captions `wrong_category` (named as a garment of another one), of texts `forbidden_phrase`,
`identical` (repeats a caption, or asks for nothing) and `contradiction` (claims of a picture what its caption
denies). The words for all this are in annotate/phrases.yaml.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from facap.annotate import answer, taxonomy
from facap.annotate.answer import Fault, short
from facap.annotate.claims import claims, denies
from facap.annotate.taxonomy import Mention, Taxonomy
from facap.schemas import OK

PHRASES = Path(__file__).resolve().parent / "phrases.yaml"
CONCISE_WORDS = 45  # FACap's modification texts run to 44 words
LOOP_LENGTH = 4  # the same word, or two in turn, this often running: a model that is stuck


@dataclass(frozen=True)
class Parsed:
    """The outcome for one answer; `text` is null unless `status` is ok."""

    status: str
    error: str | None = None
    text: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    quality: float | None = None


def parse_caption(
    raw: str,
    *,
    cut_off: bool = False,
    max_chars: int = 800,
    words: Taxonomy | None = None,
    category: str = "",
    language: str = "en",
) -> Parsed:
    """The caption in `raw` and the attributes that it states. `cut_off`: something ended it before its end.

    `category`: that of the picture, against which the caption's nouns are held. `language`: see answer.
    """
    text = answer.read(raw, max_chars=max_chars, cut_off=cut_off, language=language)
    if isinstance(text, Fault):
        return Parsed(text.status, text.error)
    return judge_caption(text, (words or taxonomy.load()).attributes(text), category)


def judge_caption(text: str, attributes: dict[str, str], category: str) -> Parsed:
    """A caption without its wrapping with what it states, unless it is of no use."""
    fault = _no_words(text)
    if fault:
        return fault
    if not attributes:
        return Parsed("unparsable", f"the caption names nothing of the taxonomy: {short(text)}")
    own = _nouns().get(category)
    said = set(_any_noun().findall(_plain(text))) if own else set()
    if own and said and not said & own:
        named = ", ".join(sorted(said))
        return Parsed("wrong_category", f"the caption is of {named}, not of {category}: {short(text)}")
    return Parsed(OK, None, text, attributes)


def parse_modification(
    raw: str,
    reference_caption: str,
    target_caption: str,
    *,
    cut_off: bool = False,
    max_chars: int = 400,
    words: Taxonomy | None = None,
    stated: tuple[dict[str, str], dict[str, str]] | None = None,
    language: str = "en",
) -> Parsed:
    """The modification text in `raw`, judged against the two captions that it was written from.

    `stated`: the attributes of reference and target, where captions came with some; else those they name.
    """
    text = answer.read(raw, max_chars=max_chars, cut_off=cut_off, language=language)
    if isinstance(text, Fault):
        return Parsed(text.status, text.error)
    fault = _no_words(text)
    if fault:
        return fault
    phrase = _forbidden().search(_plain(text))
    if phrase:
        return Parsed("forbidden_phrase", f"the text says '{phrase.group()}': {short(text)}")
    if _plain(text) in {_plain(reference_caption), _plain(target_caption)}:
        return Parsed("identical", f"the text repeats a caption: {short(text)}")
    if _plain(text) in _no_change():
        return Parsed("identical", f"the text asks for no change: {short(text)}")
    known = words or taxonomy.load()
    reference, target = stated or (known.attributes(reference_caption), known.attributes(target_caption))
    for claim in claims(text, known):
        if denies(target if claim.of == "target" else reference, claim, known):
            return Parsed("contradiction", f"the caption denies '{claim}': {short(text)}")
    checks = _checks(text, list(known.mentions(text)), reference, target)
    return Parsed(OK, None, text, quality=sum(checks.values()) / len(checks))


def _checks(
    text: str, mentions: list[Mention], reference: dict[str, str], target: dict[str, str]
) -> dict[str, bool]:
    """What a good text fulfils; `quality` is the share that holds."""
    changed = {k for k in reference.keys() | target.keys() if reference.get(k) != target.get(k)}
    known = _values(reference) | _values(target)
    return {
        "names a change": bool(changed & {m.attribute for m in mentions}) or not changed,
        "speaks of what the two have": all(m.negated or m.value in known for m in mentions),
        "is concise": len(text.split()) <= CONCISE_WORDS,
    }


def _values(attributes: dict[str, str]) -> set[str]:
    return {value for joined in attributes.values() for value in joined.split(", ")}


def _no_words(text: str) -> Parsed | None:
    tokens = re.findall(r"[^\W_]+", text.lower())
    if sum(any(c.isalpha() for c in token) for token in tokens) < 2:
        return Parsed("unparsable", f"fewer than two words: {short(text)}")
    for width in (1, 2):
        run = 1
        for before, after in zip(tokens, tokens[width:], strict=False):
            run = run + 1 if before == after else 1
            if run >= LOOP_LENGTH * width:
                return Parsed("unparsable", f"the same words over and over: {short(text)}")
    return None


@cache
def _nouns() -> dict[str, set[str]]:
    return {category: set(nouns) for category, nouns in _phrases()["nouns"].items()}


@cache
def _any_noun() -> re.Pattern[str]:
    longest_first = sorted(set().union(*_nouns().values()), key=lambda noun: (-len(noun), noun))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w'/-]+", text.lower().replace("’", "'")))


@cache
def _phrases() -> dict[str, Any]:
    return yaml.safe_load(PHRASES.read_text(encoding="utf-8"))


@cache
def _no_change() -> frozenset[str]:
    return frozenset(_plain(phrase) for phrase in _phrases()["no_change"])


@cache
def _forbidden() -> re.Pattern[str]:
    filled = {
        phrase.replace("{garment}", garment)
        for phrase, garment in product(_phrases()["forbidden"], _phrases()["garments"])
    }
    longest_first = sorted(map(_plain, filled), key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"(?<![\w])(?:{'|'.join(map(re.escape, longest_first))})(?![\w])")
