"""Draws training and held-out pictures of garments as the models see them: uint8, 128 x 128.

>>> drawn = draw(4, width=128, seed=1)
>>> drawn.pixels.shape, drawn.places.shape
((4, 128, 128, 3), (4, 2, 8, 8))

Closures and details are small, so that one label a picture teaches them slowly. The renderer can leave them
out, so it also knows where they are: `places`, for each patch of the encoder.
"""

import io
import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import PIL.Image

from facap.catalog.drawing import View, outlines, render, sample_view
from facap.catalog.garments import NONE, Garment
from facap.model.preprocess import square
from facap.model.tiny import IMAGE_PX, PATCH_PX
from facap.tiny.samples import garments

CHUNK = 250  # pictures a task; each task has a seed of its own
JPEG_QUALITY = 92  # of the demo catalogue's files
PARTS = ("closure", "detail")  # attributes that are things in some place of the picture
GRID = IMAGE_PX // PATCH_PX  # patches a side
LOOK_PX = 64  # width at which parts are looked for
SEEN, COVERED = 16, 0.08  # of 255, a pixel that a part changes; of a patch, the share that it has to change


@dataclass(frozen=True)
class Drawn:
    """N pictures, what they show, and which patches the parts are in."""

    pixels: np.ndarray  # uint8, N x 128 x 128 x 3
    garments: list[Garment]
    places: np.ndarray  # bool, N x len(PARTS) x GRID x GRID


def joined(parts: Sequence[Drawn]) -> Drawn:
    """One after the other."""
    return Drawn(
        np.concatenate([part.pixels for part in parts]),
        [garment for part in parts for garment in part.garments],
        np.concatenate([part.places for part in parts]),
    )


def draw(count: int, width: int, seed: int, held_out: bool = False, processes: int = 1) -> Drawn:
    """`count` pictures of garments; the same for any number of processes.

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
    return joined(parts)


def _chunk(count: int, width: int, seed: int, held_out: bool) -> Drawn:
    rng = random.Random(seed)
    chosen = list(islice(garments(seed, held_out), count))
    views = [sample_view(rng) for _ in chosen]
    seen = list(zip(chosen, views, strict=True))
    return Drawn(
        np.stack([_picture(garment, view, width) for garment, view in seen]),
        chosen,
        np.stack([_places(garment, view) for garment, view in seen]),
    )


def _picture(garment: Garment, view: View, width: int) -> np.ndarray:
    image = PIL.Image.fromarray(render(garment, view, width=width))
    if width > IMAGE_PX:
        compressed = io.BytesIO()
        image.save(compressed, "JPEG", quality=JPEG_QUALITY)
        image = PIL.Image.open(compressed)
    return np.asarray(square(image, IMAGE_PX))


def _places(garment: Garment, view: View) -> np.ndarray:
    """Where the picture would change if the part came off, len(PARTS) x GRID x GRID."""
    places = np.zeros((len(PARTS), GRID, GRID), bool)
    present = [(i, name) for i, name in enumerate(PARTS) if getattr(garment, name) != NONE]
    if not present:
        return places
    whole_HWC = _look(garment, view)
    patch = LOOK_PX // GRID
    for i, name in present:
        change_HW = np.abs(whole_HWC - _look(garment, view, without=name)).max(-1) > SEEN
        places[i] = change_HW.reshape(GRID, patch, GRID, patch).mean((1, 3)) > COVERED
    return places


def _look(garment: Garment, view: View, without: str = "") -> np.ndarray:
    """The middle of the drawing, LOOK_PX x LOOK_PX x 3, int16."""
    drawn_HWC = outlines(garment, view, LOOK_PX, without).astype(np.int16)
    top = (len(drawn_HWC) - LOOK_PX) // 2
    return drawn_HWC[top : top + LOOK_PX]
