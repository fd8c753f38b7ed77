"""Whether a text is English, as the taxonomy and the phrase lists are.

    >>> foreign("Même robe en rouge avec des manches courtes.")
    'French'
    >>> foreign("Make it 红色 with short sleeves.")
    'Chinese letters'
    >>> foreign("a crêpe de chine dress in noir") is None
    True

Letters of another script count, but for a word in quotes, which a print may show. In Latin script the words
decide that are in every sentence (languages.yaml): two of another language, and more than English ones. Short
texts without any such word pass: "red wrap dress".
"""

import re
import unicodedata
from functools import cache
from pathlib import Path

import yaml

LANGUAGES = Path(__file__).resolve().parent / "languages.yaml"
ENGLISH = "English"
_QUOTED = re.compile(r"[\"“'‘][^\"“”'‘’]{1,20}[\"”'’]")
_FEW = 2  # letters of another script, as in "a Σ print"; one character of Chinese is a word
_LONG = 5  # words; so many without one of English are of no language that is listed
_WORD = re.compile(r"[^\W\d_]+")
_OTHERS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")
_WRITTEN = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


def foreign(text: str) -> str | None:
    """The language or script that `text` is in, if it is not English."""
    text = unicodedata.normalize("NFKC", text)
    return _script(_QUOTED.sub(" ", text)) or _language(text)


def _script(text: str) -> str | None:
    scripts = [unicodedata.name(c, "UNKNOWN").split()[0] for c in text if c.isalpha() and ord(c) > 0x24F]
    others = [script for script in scripts if script not in ("LATIN", "MODIFIER", "SCRIPT", "DOUBLE-STRUCK")]
    if any(script in _OTHERS for script in others) or len(others) > _FEW:
        return _WRITTEN.get(others[0], others[0].capitalize()) + " letters"
    return None


def _language(text: str) -> str | None:
    words = set(_WORD.findall(text.lower()))
    counts = {language: len(words & known) for language, known in _words().items()}
    english = counts.pop(ENGLISH)
    likely = max(counts, key=lambda language: counts[language])
    if counts[likely] > max(1, english):
        return likely
    accented = sum(not word.isascii() for word in words)
    if not english and len(words) >= _LONG and (accented > 1 or counts[likely]):
        return likely if counts[likely] else "another language"
    return None


@cache
def _words() -> dict[str, frozenset[str]]:
    lists = yaml.safe_load(LANGUAGES.read_text(encoding="utf-8"))
    return {language: frozenset(str(words).split()) for language, words in lists.items()}
