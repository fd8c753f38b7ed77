r"""What others wrote, quoted in a message of ours: on one line, of bounded length, and always text.

    >>> shown("caf\udce9\n\x1b[31m")
    'caf\\xe9\\n\\x1b[31m'

A byte that could not be decoded (a half surrogate), a NUL or a terminal's escape sequence would end the job
that prints it, or change what its user sees.
"""

import re

SHOWN = 200  # characters, unless told otherwise
LOGIN = re.compile(r"(?<=://)[^/?#\s\"']*@")


def printable(text: str) -> str:
    """`text` with an escape in the place of each character that is none, or has no picture of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def shown(value: object, most: int = SHOWN) -> str:
    """`value` as printable text of at most `most` characters and three dots."""
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError) as error:  # nested deeper than Python goes, a number of 10,000 digits
        text = f"{type(value).__name__} that cannot be shown ({type(error).__name__})"
    safe = printable(text[: most + 1])
    return safe if len(safe) <= most else f"{safe[:most]}..."


def without_login(text: str) -> str:
    """`text` with no user name and password in the addresses that it holds.

    >>> without_login("http://ann:secret@mlflow:5000/api does not answer")
    'http://mlflow:5000/api does not answer'
    """
    return LOGIN.sub("", text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte that it stands for
    return character.encode("unicode_escape").decode()
