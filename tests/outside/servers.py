"""Addresses as shops and object stores sign them, and responses as servers and their stores send them."""

import asyncio
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from PIL import Image

from facap.catalog import pipeline as catalog
from facap.catalog.config import CatalogConfig
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.crawl.lanes import VISITS, lanes
from facap.crawl.worker import CrawlWorker
from facap.progress import Progress
from facap.schemas import IMAGES
from facap.store import Store
from jobs.fetch_sources import source_fetch
from tests.outside.case import GIVEN, Case
from tests.raw_site import http, moved, raw_site

SIGNED = GIVEN / "signed_urls" / "signed.txt"
QUICK = {**LOCAL_SERVER, "attempts": 1, "backoff_s": 0.01}
TABLE = b"product_id,category,url\n7,dress,https://a.example/7.jpg\n"
HOP = b"/hop"


def picture() -> bytes:
    """A JPEG."""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def crawled(folder: Path, address: str) -> str:
    """The status of the row that the crawl writes for `address`."""
    stage = Store(str(folder)).stage("images", IMAGES, "key")
    visit = {"item_id": "7", "product_id": "7", "category": "dress", "url": address, "at": address, "hops": 0}

    async def crawl() -> None:
        worker = CrawlWorker(CrawlConfig(**QUICK), stage)
        for lane in lanes(pa.Table.from_pylist([visit], schema=VISITS), 1):
            await worker(lane)
        await worker.close()

    asyncio.run(crawl())
    return str(stage.read(["status"]).column(0).to_pylist()[0])


def direct(target: str) -> Callable[[Path], str]:
    def seen(folder: Path) -> str:
        with raw_site({target.encode(): http(picture())}) as site:
            return crawled(folder, site.base + target)

    return seen


def redirected(target: str, whole: bool) -> Callable[[Path], str]:
    """`whole`: the Location is an address, else a path."""

    def seen(folder: Path) -> str:
        with raw_site({target.encode(): http(picture())}) as site:
            site.answers[HOP] = moved((site.base if whole else "") + target)
            return crawled(folder, site.base + HOP.decode())

    return seen


def as_manifest(target: str) -> Callable[[Path], int]:
    def seen(folder: Path) -> int:
        with raw_site({target.encode(): http(TABLE)}) as site:
            config = CatalogConfig(manifest=site.base + target)
            fetch = source_fetch(CrawlConfig(**QUICK))
            return catalog.run(Store(str(folder)), config, Progress("catalog", io.StringIO()), fetch).rows_out

    return seen


def encoded(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def seen(folder: Path) -> str:
        with raw_site({b"/7.jpg": http(pack(picture()), content_encoding=name)}) as site:
            return crawled(folder, site.base + "/7.jpg")

    return seen


def encoded_manifest(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], int]:
    def seen(folder: Path) -> int:
        with raw_site({b"/feed.csv": http(pack(TABLE), content_encoding=name)}) as site:
            config = CatalogConfig(manifest=site.base + "/feed.csv")
            fetch = source_fetch(CrawlConfig(**QUICK))
            return catalog.run(Store(str(folder)), config, Progress("catalog", io.StringIO()), fetch).rows_out

    return seen


def plain(body: bytes) -> bytes:
    return body


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def framed(body: bytes) -> bytes:
    """As S3's SDKs send an upload: frames of up to 8 KiB (here 1 KB) with a signature each."""
    frames = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    sign = b";chunk-signature=" + b"ab" * 32
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), sign, part) for part in [*frames, b""])


def framed_with_checksum(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n" % (len(body), body)


def _signed(target: str, given: str) -> list[Case]:
    return [
        Case("signed address", f"direct {target}", "ok", direct(target), given),
        Case("signed address", f"Location {target}", "ok", redirected(target, whole=False), given),
        Case("signed address", f"Location http://… {target}", "ok", redirected(target, whole=True), given),
        Case("signed address", f"catalog.manifest {target}", 1, as_manifest(target), given),
    ]


GIVEN_TARGETS = SIGNED.read_text().splitlines() if SIGNED.is_file() else ["/" + SIGNED.name]
OWN_TARGETS = [
    "/a.jpg?X-Goog-Signature=4f%2f%2B&X-Goog-SignedHeaders=host",  # lower-case escapes
    "/cdn-cgi/image/w=1200,f=auto/https://a.example/7.jpg",
    "/thumb/fit-in/800x800/filters:format(webp)/7.jpg",
    "/%E6%B1%89/%C3%A9%20e%25.jpg",
    "/7.jpg?url=https%3A%2F%2Fa.example%2F7.jpg%3Fw%3D1%26h%3D2&s=%0A",
    "/._~!$&'()*+,;=:@-%2e%2E/./..//7.jpg?!$&'()*+,;=:@/?-._~",
    '/"<>^`{}7.jpg?{"w":1}',
    "/?7.jpg",
    "/%",
    "/%zz%2",
]

_ESCAPED = [
    ("a space", "/a b.jpg?c d", b"/a%20b.jpg?c%20d"),
    ("letters beyond ASCII", "/größe/漢.jpg?é=ü", b"/gr%C3%B6%C3%9Fe/%E6%BC%A2.jpg?%C3%A9=%C3%BC"),
    ("a fragment", "/a.jpg?b#c?d", b"/a.jpg?b"),
]


def escaped(text: str, target: bytes, location: bool) -> Callable[[Path], str]:
    def seen(folder: Path) -> str:
        with raw_site({target: http(picture()), HOP: moved(text)}) as site:
            return crawled(folder, site.base + (HOP.decode() if location else text))

    return seen


def latin_location(folder: Path) -> str:
    """A Location in Latin-1, as old servers send them."""
    with raw_site({b"/gr%F6%DFe.jpg": http(picture()), HOP: moved("/größe.jpg".encode("latin-1"))}) as site:
        return crawled(folder, site.base + HOP.decode())


_ENCODINGS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("aws-chunked", plain, "ok"),
    ("utf-8", plain, "ok"),
    ("none", plain, "ok"),
    ("binary", plain, "ok"),
    ("aws-chunked,gzip", gzip.compress, "ok"),
    ("deflate", bare_deflate, "ok"),
    ("br", plain, "content_encoding"),
]
_OWN_ENCODINGS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("identity", plain, "ok"),
    ("image/jpeg", plain, "ok"),
    ("application/octet-stream", plain, "ok"),
    ("UTF-8, identity", plain, "ok"),
    ("", plain, "ok"),
    ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body)), "ok"),
    ("deflate, gzip", lambda body: gzip.compress(bare_deflate(body)), "ok"),
    ("x-gzip", gzip.compress, "ok"),
    ("deflate", zlib.compress, "ok"),
    (
        "gzip",
        lambda body: gzip.compress(body[:99]) + gzip.compress(body[99:]) + bytes(9),
        "ok",
    ),  # two members
    ("application/gzip", gzip.compress, "ok"),
    ("aws-chunked", framed, "ok"),
    ("aws-chunked", framed_with_checksum, "ok"),
    ("aws-chunked,gzip", lambda body: framed(gzip.compress(body)), "ok"),
    ("gzip,aws-chunked", lambda body: framed(gzip.compress(body)), "ok"),
    ("aws-chunked", lambda body: framed(body)[:-90], "content_encoding"),
    ("aws-chunked", lambda body: framed(body).replace(b"\r\n", b"\r\n!", 2), "content_encoding"),
    ("gzip", plain, "content_encoding"),
    ("gzip", lambda body: gzip.compress(body)[:-1], "content_encoding"),
    ("deflate", lambda body: bare_deflate(body)[:-1], "content_encoding"),
    ("gzip, br", gzip.compress, "content_encoding"),
    ("zstd", plain, "content_encoding"),
    (", ".join(["gzip"] * 6), plain, "content_encoding"),
    ("gzip", lambda body: gzip.compress(bytes(40_000_000)), "too_large"),
    ("gzip, gzip", lambda body: gzip.compress(gzip.compress(bytes(40_000_000))), "too_large"),
    (
        "gzip, gzip",
        lambda body: gzip.compress(gzip.compress(b"")[:10] + bytes(40_000_000)),
        "content_encoding",
    ),
]

CASES = [
    *(case for target in GIVEN_TARGETS for case in _signed(target, "signed_urls")),
    *(case for target in OWN_TARGETS for case in _signed(target, "")),
    *(Case("escaped address", name, "ok", escaped(text, target, False)) for name, text, target in _ESCAPED),
    *(
        Case("escaped address", f"{name} in Location", "ok", escaped(text, target, True))
        for name, text, target in _ESCAPED
    ),
    Case("escaped address", "Latin-1 in Location", "ok", latin_location),
    *(
        Case("Content-Encoding", f"{name or 'empty'} {number}", status, encoded(name, pack), given)
        for given, group in (("content_encoding", _ENCODINGS), ("", _OWN_ENCODINGS))
        for number, (name, pack, status) in enumerate(group)
    ),
    *(
        Case("Content-Encoding of a manifest", f"{name or 'empty'} {number}", 1, encoded_manifest(name, pack))
        for number, (name, pack, status) in enumerate([*_ENCODINGS, *_OWN_ENCODINGS])
        if status == "ok"
    ),
]
