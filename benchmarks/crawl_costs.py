"""Where the CPU of a crawled picture goes, part by part with every core at it, and how good the result is.

    costs(files, port, limits)      # {"decode": 0.6, "encode": 0.2, "shrink": ...}

The floor is what nobody can leave out: a full JPEG decode of the original and a JPEG encode of the result.
"""

import asyncio
import hashlib
import io
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import uvloop
from PIL import Image

from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.crawl.decode import Limits, normalise, use_one_thread
from facap.crawl.fetch import Fetcher
from facap.crawl.phash import phash
from facap.crawl.shrink import fitting, shrink
from facap.schemas import IMAGES, OK, from_rows
from facap.store import Store

FETCHES, AT_A_TIME = 3000, 32
ROWS_PER_PART = 128


def costs(files: Sequence[Path], port: int, limits: Limits) -> dict[str, float]:
    """Milliseconds of CPU a picture, by part, while all cores do the same part, as they do in a crawl.

    Cores share caches and memory, so that one may be quicker alone.
    """
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        each = list(pool.map(_costs, *([value] * cores for value in (files, port, limits))))
    return {part: round(sum(one[part] for one in each) / cores, 3) for part in each[0]}


def _costs(files: Sequence[Path], port: int, limits: Limits) -> dict[str, float]:
    use_one_thread()
    bodies = [file.read_bytes() for file in files]
    memory = bytearray(64 * 2**20)
    large = [simplejpeg.decode_jpeg(body) for body in bodies]
    sizes = [fitting(image.shape[1], image.shape[0], limits.longest_side) for image in large]
    small = [shrink(image, size) for image, size in zip(large, sizes, strict=True)]
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in small]
    out = [simplejpeg.encode_jpeg(image, limits.jpeg_quality, colorsubsampling="420") for image in small]
    decode = _ms(lambda n: simplejpeg.decode_jpeg(bodies[n], buffer=memory, fastupsample=True), len(files))
    encode = _ms(
        lambda n: simplejpeg.encode_jpeg(small[n], limits.jpeg_quality, colorsubsampling="420"), len(files)
    )
    shrinking = _ms(lambda n: shrink(large[n], sizes[n]), len(files))
    hashing = _ms(lambda n: (phash(grey[n]), hashlib.sha256(out[n]).hexdigest()), len(files))
    whole = _ms(lambda n: normalise(bodies[n], limits), len(files))
    return {
        "decode": decode,
        "encode": encode,
        "shrink": shrinking,
        "hashes": hashing,
        "checks_and_colour": max(0.0, round(whole - decode - encode - shrinking - hashing, 3)),
        "fetch": _fetch_ms(port, len(files)),
        "store": _store_ms(bodies, limits),
    }


def _ms(work: Callable[[int], Any], number: int) -> float:
    """CPU milliseconds of `work(n)`, the better of two rounds over all n."""
    rounds = []
    for _ in range(2):
        started = time.process_time()
        for n in range(number):
            work(n)
        rounds.append(1000 * (time.process_time() - started) / number)
    return round(min(rounds), 3)


def _fetch_ms(port: int, num_photos: int) -> float:
    """With robots.txt, limits and the check of addresses on, as in the crawl; no picture is decoded."""

    async def fetch_all() -> float:
        numbers = itertools.count()
        async with Fetcher(CrawlConfig(**LOCAL_SERVER)) as fetcher:

            async def draw() -> None:
                for number in numbers:
                    if number >= FETCHES:
                        return
                    url = f"http://127.0.0.{1 + number % 20}:{port}/0/{number % num_photos}.jpg"
                    async with fetcher.fetch(url):
                        pass

            started = time.process_time()
            await asyncio.gather(*(draw() for _ in range(AT_A_TIME)))
            return 1000 * (time.process_time() - started) / FETCHES

    return round(uvloop.run(fetch_all()), 3)


def _store_ms(bodies: Sequence[bytes], limits: Limits) -> float:
    rows = [
        {
            "item_id": f"{n:06}", "product_id": f"{n:06}", "category": "top", "url": "http://a.example/",
            "status": OK, "fetched_at": datetime.now(UTC), **vars(normalise(body, limits)),
        }
        for n, body in enumerate(bodies)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        stage = Store(folder).stage("images", IMAGES, "costs")
        parts = [rows[start : start + ROWS_PER_PART] for start in range(0, len(rows), ROWS_PER_PART)]
        return _ms(lambda n: stage.write(from_rows(parts[n], IMAGES)), len(parts)) * len(parts) / len(rows)


def psnr_db(files: Sequence[Path], stored: Sequence[bytes]) -> float:
    """Mean PSNR of stored pictures against Lanczos of the originals at the same size."""
    found = []
    for file, jpeg in zip(files, stored, strict=True):
        picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
        wanted = Image.open(file).convert("RGB").resize(picture.size, Image.Resampling.LANCZOS)
        error = np.square(np.asarray(picture, float) - np.asarray(wanted, float)).mean()
        found.append(10 * np.log10(255**2 / error))
    return round(float(np.mean(found)), 2)
