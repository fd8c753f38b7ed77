"""What `clean.keep` gives: files and names -> the texts in which they name what stays.

>>> kept_texts(("index/data-3fa9c1d2e4b5",))
{'clean.keep': 'index/data-3fa9c1d2e4b5'}
"""

import os
from collections.abc import Iterable

from facap.clean.entries import CHAMPION, TEXT_BYTES, VERSION
from facap.errors import ConfigError


def kept_texts(keep: Iterable[str]) -> dict[str, str]:
    """Who says it -> its text. ConfigError for a file that cannot be read, and for what names nothing."""
    names, found = [], {}
    for one in keep:
        if os.path.isdir(one) or not os.path.exists(one):
            names.append(_naming(one, one))
        else:
            found[one] = _naming(one, _read(one))
    return found | ({"clean.keep": "\n".join(names)} if names else {})


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(TEXT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"clean.keep: '{path}' cannot be read ({error}); nothing was removed") from error
    if len(content) > TEXT_BYTES:
        raise ConfigError(f"clean.keep: '{path}' has more than {TEXT_BYTES:,} bytes; nothing was removed")
    return content.decode(errors="replace")


def _naming(one: str, text: str) -> str:
    if VERSION.search(text) is None and CHAMPION.search(text) is None:
        raise ConfigError(
            f"clean.keep: '{one}' should be a file that names data-<key> or champions/<folder>, or such a "
            "name, and is neither; nothing was removed"
        )
    return text
