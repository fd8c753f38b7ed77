"""The HTTP front end: the search page, the catalogue, its pictures, and POST /api/search.

Errors are JSON: {"error": what was wrong, "expected": what would be right}. What each request may
cost is bounded before it is paid for: bytes of a body, pixels of a picture, characters, results,
requests that wait. Nothing of a request is ever used as a path or as HTML.
"""

import asyncio
import hashlib
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ray import serve
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

from serve_app import query as queries
from serve_app.body import read_body, read_form
from serve_app.config import ServeArgs
from serve_app.pictures import open_catalogue
from serve_app.query import ClientError

logger = logging.getLogger("ray.serve")

STATIC = Path(__file__).parent / "static"
CONTENT_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FOREVER = "public, max-age=31536000, immutable"  # an image_id is the hash of its bytes
DECODERS = 2  # uploads that are decoded at the same time; bounds memory
PAGE_LIMIT = 200  # pictures of one answer of /api/catalog

api = FastAPI(title="facap", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")


@api.middleware("http")
async def _add_headers(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _error(status: int, message: str, expected: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message, "expected": expected}, status, headers)


@api.exception_handler(ClientError)
async def _client_error(_: Request, error: ClientError) -> JSONResponse:
    return _error(error.status, error.message, error.expected)


@api.exception_handler(RequestValidationError)
async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    return _error(400, f"{first['loc'][-1]} is not acceptable", str(first["msg"]))


@api.exception_handler(HTTPException)
async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    known = "GET /, /healthz, /api/catalog, /images/{image_id}.jpg; POST /api/search"
    return _error(error.status_code, str(error.detail), known, dict(error.headers or {}))


@api.exception_handler(BackPressureError)
@api.exception_handler(DeploymentUnavailableError)
async def _overloaded(_: Request, __: Exception) -> JSONResponse:
    return _error(503, "too many requests are waiting", "a try again in a second", {"Retry-After": "1"})


@api.exception_handler(Exception)
async def _failed(_: Request, error: Exception) -> JSONResponse:
    logger.exception("request failed", exc_info=error)
    return _error(
        500, "the server failed on this request", "a try again; the server's log has the cause", HEADERS
    )


@serve.deployment()
@serve.ingress(api)
class Gateway:
    """Answers HTTP; holds the catalogue's list and, if they fit, its pictures."""

    def __init__(self, args: ServeArgs, encoder: DeploymentHandle, search: DeploymentHandle) -> None:
        self.args, self.encoder, self.search_index = args, encoder, search
        self.catalogue, self.pictures = open_catalogue(
            args.workspace, args.index_folder, args.image_cache_bytes
        )
        self.static = {name: (STATIC / name).read_bytes() for name in CONTENT_TYPES}
        self.decoders = asyncio.Semaphore(DECODERS)

    @api.get("/")
    async def page(self, request: Request) -> Response:
        """The search page."""
        return self._file("index.html", request)

    @api.get("/static/{name}")
    async def static_file(self, name: str, request: Request) -> Response:
        """What the page is made of."""
        return self._file(name, request)

    @api.get("/healthz")
    async def healthz(self) -> dict[str, Any]:
        """Whether the gateway is up, and what it serves."""
        return {"status": "ok", "model_version": self.args.model_version, "images": len(self.catalogue.cards)}

    @api.get("/api/catalog")
    async def catalog(
        self,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 48,
        category: str | None = None,
    ) -> dict[str, Any]:
        """A piece of the catalogue, one picture a product, in an order that never changes."""
        cards, total = self.catalogue.page(offset, limit, queries.category(category))
        return {
            "items": [asdict(card) for card in cards],
            "total": total,
            "categories": self.catalogue.counts(),
            "model_version": self.args.model_version,
        }

    @api.get("/images/{name}")
    async def image(self, name: str, request: Request) -> Response:
        """One picture of the catalogue: /images/<image_id>.jpg."""
        image_id = name.removesuffix(".jpg")
        if not name.endswith(".jpg") or not queries.IMAGE_ID.fullmatch(image_id):
            raise ClientError(404, "no such picture", "/images/<32 hexadecimal digits>.jpg")
        if f'"{image_id}"' in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"Cache-Control": FOREVER})
        headers = {"Cache-Control": FOREVER, "ETag": f'"{image_id}"'}
        return Response(await self._picture(image_id), media_type="image/jpeg", headers=headers)

    @api.post("/api/search")
    async def search(self, request: Request) -> dict[str, Any]:
        """Ranked pictures for a reference and a text.

        JSON {reference_id, text, k, category}, or a multipart form with the same fields and a file
        `image` in the place of reference_id.
        """
        started = time.perf_counter()
        query, picture = await self._read(request)
        exclude: list[str] = []
        if query.reference_id is not None:
            picture = await self._picture(query.reference_id)
            exclude = self.catalogue.excluded(query.reference_id, self.args.exclude_same_product)
        vector_D, encode_ms = await self.encoder.embed.remote((picture, query.text))
        results, search_ms = await self.search_index.search.remote(vector_D, query.k, query.category, exclude)
        total_ms = 1000 * (time.perf_counter() - started)
        timing = {"encode": encode_ms, "search": search_ms, "total": total_ms}
        return {
            "results": results,
            "timing_ms": {name: round(value, 2) for name, value in timing.items()},
            "model_version": self.args.model_version,
        }

    async def _read(self, request: Request) -> tuple[queries.Query, bytes | None]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "multipart/form-data"):
            raise ClientError(
                415, f"the content type is '{kind[:60]}'", "application/json or multipart/form-data"
            )
        body = await read_body(request, self.args.max_upload_bytes)
        if kind == "application/json":
            return queries.from_json(body, self.args), None
        fields, data = await read_form(request, body)
        query = queries.from_fields(fields, self.args)
        if query.reference_id is not None:
            raise ClientError(400, "both an image and a reference_id came", "one of the two")
        async with self.decoders:
            return query, await asyncio.to_thread(queries.picture, data, self.args)

    async def _picture(self, image_id: str) -> bytes:
        get = self.pictures.get
        data = get(image_id) if self.pictures.in_memory else await asyncio.to_thread(get, image_id)
        if data is None:
            raise ClientError(
                404, f"the catalogue has no picture {image_id}", "an image_id that /api/catalog lists"
            )
        return data

    def _file(self, name: str, request: Request) -> Response:
        if name not in self.static:
            raise ClientError(404, "no such file", ", ".join(CONTENT_TYPES))
        etag = f'"{hashlib.sha256(self.static[name]).hexdigest()[:16]}"'
        headers = {"Cache-Control": "no-cache", "ETag": etag}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(self.static[name], media_type=CONTENT_TYPES[name], headers=headers)
