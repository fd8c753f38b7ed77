"""Precision and recall of near duplicates on photographs that were changed as shops and copiers change them.

    python benchmarks/near_duplicates.py FOLDER     # of photographs; draws docs/images/near-duplicates.svg

Every photograph comes as itself and in one copy a change: encoded anew, smaller, 5 % of each side cropped off
at a random place, a watermark laid over it. Two pictures are truly alike if they are of one photograph, so
each of the pairs that are not is a chance to be wrong. The photographs have a few hard pairs of their own:
one garment in two shots, two shirts on one bedspread. None of them counts as alike.
"""

import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.photo_server import photos
from facap.crawl import near
from facap.crawl.decode import Limits, normalise
from facap.crawl.likeness import SAME, difference, thumbnail
from facap.crawl.near import RADIUS, representatives
from facap.crawl.phash import unpack

LONGEST_SIDE = 256  # px of the stored pictures
THRESHOLDS = (4.0, 6.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0, 16.0, 20.0, 25.0, 30.0)
CURVE = Path(__file__).resolve().parents[1] / "docs" / "images" / "near-duplicates.svg"
Change = Callable[[Image.Image, random.Random], bytes]


def _encoded(image: Image.Image, quality: int, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind, quality=quality)
    return out.getvalue()


def _smaller(image: Image.Image, chance: random.Random) -> bytes:
    share = chance.uniform(0.35, 0.7)
    return _encoded(image.resize((round(image.width * share), round(image.height * share))), 88)


def _cropped(image: Image.Image, chance: random.Random) -> bytes:
    width, height = round(image.width * 0.95), round(image.height * 0.95)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return _encoded(image.crop((left, top, left + width, top + height)), 88)


def _watermarked(image: Image.Image, chance: random.Random) -> bytes:
    layer = Image.new("RGBA", image.size)
    shade = chance.choice((255, 20))
    place = chance.randint(0, image.width // 4), chance.randint(image.height // 8, image.height * 7 // 8)
    font = ImageFont.load_default(size=image.width / 9)
    ImageDraw.Draw(layer).text(place, "example shop", font=font, fill=(shade, shade, shade, 150))
    return _encoded(Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB"), 88)


CHANGES: dict[str, Change] = {
    "itself": lambda image, chance: _encoded(image, 95),
    "encoded anew": lambda image, chance: _encoded(
        image, chance.choice((30, 50, 70)), chance.choice(("JPEG", "WEBP"))
    ),
    "smaller": _smaller,
    "cropped 5 %": _cropped,
    "watermarked": _watermarked,
}


def measure(files: Sequence[Path]) -> dict[str, Any]:
    """Figures of `files`: the curve by pairs, and what the crawl itself makes of the whole set."""
    names, sources, hashes, stored = _pictures(files)
    thumbnails = np.stack([thumbnail(jpeg) for jpeg in stored])
    truth = len(CHANGES) * (len(CHANGES) - 1) // 2 * len(files)
    pairs = _candidates(hashes)
    apart = np.array([difference(thumbnails[a], thumbnails[b]) for a, b in pairs])
    alike = np.array([sources[a] == sources[b] for a, b in pairs])
    curve = [{"threshold": t, **_rates(alike[apart <= t], truth)} for t in THRESHOLDS]
    standing = representatives(hashes, lambda places: thumbnails[places])
    groups = Counter((standing[place], source) for place, source in enumerate(sources))
    sizes = Counter(standing)
    right = sum(n * (n - 1) // 2 for n in groups.values())
    found = sum(n * (n - 1) // 2 for n in sizes.values())
    marked = [sources[first] == sources[p] and first != p for p, first in enumerate(standing)]
    recall_by_change = {
        name: round(float(np.mean([mark for mark, by in zip(marked, names, strict=True) if by == name])), 4)
        for name in CHANGES
        if name != "itself"
    }
    return {
        "near_duplicate_precision": round(right / max(found, 1), 4),
        "near_duplicate_recall": round(right / truth, 4),
        "near_duplicate_pictures": len(names),
        "near_duplicate_recall_by_change": recall_by_change,
        "near_duplicate_curve": curve,
        "near_duplicate_candidates_recall": round(float(alike.sum()) / truth, 4),
        "near_duplicate_candidates_false": int((~alike).sum()),
    }


def search_ns_per_pair(num_hashes: int = 30_000) -> float:
    """Wall time of the search for candidates, which compares every pair; on all cores, of unlike hashes."""
    chance = np.random.default_rng(0)
    whole, inner = chance.integers(0, 256, (2, num_hashes, near.BITS // 8), dtype=np.uint8)
    started = time.monotonic()
    assert not near.have_candidates(whole, inner, RADIUS - 30).any()
    return round(1e9 * (time.monotonic() - started) / num_hashes**2, 3)


def _pictures(files: Sequence[Path]) -> tuple[list[str], list[int], list[str], list[bytes]]:
    names, sources, hashes, stored = [], [], [], []
    for number, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        for name, change in CHANGES.items():
            picture = normalise(
                change(image, random.Random(f"{number}/{name}")), Limits(longest_side=LONGEST_SIDE)
            )
            names.append(name)
            sources.append(number)
            hashes.append(picture.phash)
            stored.append(picture.bytes)
    return names, sources, hashes, stored


def _candidates(hashes: list[str]) -> list[tuple[int, int]]:
    """All pairs within RADIUS, as near.py would see them."""
    import faiss

    whole, inner = unpack(hashes)
    found: set[tuple[int, int]] = set()
    for base, asked in ((whole, whole), (whole, inner)):
        index = faiss.IndexBinaryFlat(near.BITS)
        index.add(base)
        limits, _, others = index.range_search(asked, RADIUS + 1)
        for place in range(len(hashes)):
            for other in others[limits[place] : limits[place + 1]].tolist():
                if other != place:
                    found.add((min(place, other), max(place, other)))
    return sorted(found)


def _rates(right: np.ndarray, truth: int) -> dict[str, float]:
    precision = float(right.mean()) if len(right) else 1.0
    return {"precision": round(precision, 4), "recall": round(float(right.sum()) / truth, 4)}


def draw(figures: dict[str, Any], path: Path) -> None:
    """The curve as SVG: precision and recall over the threshold."""
    from matplotlib.figure import Figure

    curve = figures["near_duplicate_curve"]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    thresholds = [point["threshold"] for point in curve]
    for name, colour in (("precision", "#1f7a5c"), ("recall", "#3d6fb6")):
        axes.plot(thresholds, [point[name] for point in curve], marker="o", ms=4, color=colour, label=name)
    axes.axvline(SAME, color="#98a2b3", ls="--", lw=1, label=f"chosen: {SAME:g}")
    axes.set(xlabel="colour difference up to which two pictures are one", ylim=(0.4, 1.02))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Measures, draws, and prints the figures as JSON."""
    figures = measure(photos(Path(sys.argv[1])))
    draw(figures, CURVE)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
