"""Draws training and held-out pictures of garments as the models see them: uint8, 128 x 128.

>>> pictures, garments = draw(4, width=128, seed=1)
>>> pictures.shape
(4, 128, 128, 3)
"""

import io
import multiprocessing
import random
from itertools import islice

import numpy as np
import PIL.Image

from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import Garment
from facap.model.preprocess import square
from facap.model.tiny import IMAGE_PX
from facap.tiny.samples import garments

CHUNK = 250  # pictures a task; each task has a seed of its own
JPEG_QUALITY = 92  # of the demo catalogue's files


def draw(
    count: int, width: int, seed: int, held_out: bool = False, processes: int = 1
) -> tuple[np.ndarray, list[Garment]]:
    """`count` pictures, N x 128 x 128 x 3, and their garments; the same for any number of processes.

    `width` 256 draws, compresses and reduces like the catalogue and the crawl do; 128 is quicker.
    """
    tasks = [
        (min(CHUNK, count - start), width, seed * 100_003 + start, held_out)
        for start in range(0, count, CHUNK)
    ]
    if processes == 1:
        parts = [_chunk(*task) for task in tasks]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            parts = pool.starmap(_chunk, tasks)
    return np.concatenate([p for p, _ in parts]), [g for _, chunk in parts for g in chunk]


def _chunk(count: int, width: int, seed: int, held_out: bool) -> tuple[np.ndarray, list[Garment]]:
    rng = random.Random(seed)
    chosen = list(islice(garments(seed, held_out), count))
    return np.stack([_picture(garment, width, rng) for garment in chosen]), chosen


def _picture(garment: Garment, width: int, rng: random.Random) -> np.ndarray:
    image = PIL.Image.fromarray(render(garment, sample_view(rng), width=width))
    if width > IMAGE_PX:
        compressed = io.BytesIO()
        image.save(compressed, "JPEG", quality=JPEG_QUALITY)
        image = PIL.Image.open(compressed)
    return np.asarray(square(image, IMAGE_PX))
