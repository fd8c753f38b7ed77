"""The body of POST /api/search: read within a limit, and taken apart if it is a multipart form.

A module of its own: `serve.ingress` pickles the routes where the gateway's class is defined, so
what they call must exist by then.
"""

from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from serve_app.query import FIELDS, ClientError

FORM = "a multipart form with a file `image` and the fields text, k, category"


async def read_body(request: Request, most: int) -> bytes:
    """The whole body; ClientError 413 as soon as it is known to exceed `most` bytes."""
    too_large = ClientError(413, "the request is too large", f"at most {most / 1024**2:g} MiB")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():  # the header may be absent
        size += len(piece)
        if size > most:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


async def read_form(request: Request, body: bytes) -> tuple[dict[str, str], bytes]:
    """The fields of the multipart form in `body`, and the bytes of its file `image`."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    fields: dict[str, str] = {}
    data: bytes | None = None
    try:
        async with Request(request.scope, receive).form(max_files=1, max_fields=len(FIELDS)) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) and name == "image":
                    data = await value.read()
                elif isinstance(value, UploadFile):
                    raise ClientError(400, f"unexpected file '{name[:40]}'", FORM)
                else:
                    fields[name] = value
    except (MultiPartException, HTTPException, KeyError, ValueError) as error:
        raise ClientError(400, "the multipart form cannot be read", FORM) from error
    if data is None:
        raise ClientError(400, "the form has no file `image`", FORM)
    return fields, data
