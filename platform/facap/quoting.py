r"""What others wrote, quoted in a message of ours: on one line, of bounded length, and always text.

    >>> shown("caf\udce9\n\x1b[31m")
    'caf\\xe9\\n\\x1b[31m'

A byte that could not be decoded (a half surrogate), a NUL or a terminal's escape sequence would end the job
that prints it, or change what its user sees.
"""

import re

SHOWN = 200  # characters, unless told otherwise
_USER = re.compile(r"//[^\s/?#]*@")
_QUERY = re.compile(
    r"(//[^\s?#]*)([?#]\S*)?|(\?[^\s?=]*=\S*)"
)  # an address, or what looks like a query alone
_CLOSING = ".,:;'\")]}"  # of the sentence or value that an address stands in


def printable(text: str) -> str:
    """`text` with an escape in the place of each character that is none, or has no picture of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def shown(value: object, most: int = SHOWN) -> str:
    """`value` as printable text of at most `most` characters and three dots."""
    text = _text(value)
    safe = printable(text[: most + 1])
    return safe if len(safe) <= most else f"{safe[:most]}..."


def without_secrets(value: object) -> str:
    """`value` as text with each address in it by host and path: no user, password, query or fragment.

    >>> without_secrets("redirect from https://me:pw@b.example/a.jpg?X-Amz-Signature=1f: no host")
    'redirect from https://b.example/a.jpg: no host'

    Linear in time. A signed address is a key to what it names, and a message gets into logs.
    """
    return _QUERY.sub(_without_query, _USER.sub("//", _text(value)))


def _without_query(found: re.Match[str]) -> str:
    query = found[2] or found[3] or ""
    return (found[1] or "") + query[len(query.rstrip(_CLOSING)) :]


def _text(value: object) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError) as error:  # nested deeper than Python goes, a number of 10,000 digits
        return f"{type(value).__name__} that cannot be shown ({type(error).__name__})"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte that it stands for
    return character.encode("unicode_escape").decode()
