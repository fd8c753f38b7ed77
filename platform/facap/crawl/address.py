"""Addresses as they were written: what of one is sent, and where a redirect leads.

    >>> split("https://a.example/b%2fc d.jpg?sig=ab%2B#top")
    ('https', 'a.example', '/b%2fc%20d.jpg?sig=ab%2B')
    >>> resolve("https://a.example/x/y.jpg?z=1", "../w%2E.jpg?")
    'https://a.example/w%2E.jpg?'

A signature is made over the very bytes of an address, so %2F stays %2F and not /, %7E stays %7E, dots and
double slashes stay where they are. Only what cannot stand in a request line is escaped: spaces, and bytes
beyond ASCII as UTF-8. Control characters and backslashes are refused; no server needs them, and a line
break would let an address write headers.
"""

import re


class BadUrl(ValueError):
    """A URL that is no absolute http(s) address; the message says why."""


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PARTS = re.compile(r"(?://([^/?#]*))?([^#]*)")  # RFC 3986, appendix B, after the scheme


def split(text: str) -> tuple[str, str, str]:
    """Scheme, authority, and path with query as they are sent; parts that are not there are empty."""
    text = text.strip()
    if re.search(r"[\x00-\x1f\x7f\\]", text):  # parsers disagree on where the host ends
        raise BadUrl("the address has a control character or a backslash in it")
    scheme = _SCHEME.match(text)
    parts = _PARTS.match(text, scheme.end() if scheme else 0)
    assert parts is not None, "both parts may be empty"
    target = _escaped(parts[2])
    target = target if target.startswith("/") else f"/{target}"
    return (scheme[1].lower() if scheme else ""), parts[1] or "", target


def _escaped(target: str) -> str:
    try:
        raw = target.encode(errors="surrogateescape")  # bytes of a header that were no UTF-8 come back
    except UnicodeEncodeError as error:
        raise BadUrl("the address has half a surrogate pair in it") from error
    return re.sub(rb"[^\x21-\x7e]", lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")


def resolve(base: str, reference: str) -> str:
    """What `reference` means in a redirect from the absolute address `base` (RFC 3986, 5.2).

    An address or path that is written out is taken as written; only one that is relative to the folder of
    `base` has its dots resolved.
    """
    reference = reference.strip().partition("#")[0]
    if not reference:
        return base
    if _SCHEME.match(reference):
        return reference
    scheme, _, rest = base.partition("://")
    if reference.startswith("//"):
        return f"{scheme}:{reference}"
    authority, slash, path = rest.partition("/")
    origin, path = f"{scheme}://{authority}", (slash + path).partition("?")[0]
    if reference.startswith("/"):
        return origin + reference
    if reference.startswith("?"):
        return origin + path + reference
    relative, mark, query = reference.partition("?")
    return origin + _without_dots(f"{path.rpartition('/')[0]}/{relative}") + mark + query


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if path.endswith(("/.", "/..")):
        kept.append("")
    return "/" + "/".join(kept)
