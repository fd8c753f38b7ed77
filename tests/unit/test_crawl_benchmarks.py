"""The parts of the crawl's benchmark measure what they say: on a few photographs, against known answers."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks import near_duplicates
from benchmarks.crawl_costs import psnr_db
from benchmarks.photo_server import photos, serving
from facap.crawl.decode import Limits, normalise


@pytest.fixture(scope="module")
def some_photos(shared_dir: Path) -> list[Path]:
    """Every 22nd photograph: 40 of 880, all kinds of garment."""
    return photos(shared_dir / "photos")[::22]


def test_the_server_gives_each_photograph_under_any_host_and_pass(some_photos: list[Path]) -> None:
    files = photos(some_photos[0].parent)
    with serving(some_photos[0].parent) as server:
        for url in ("127.0.0.1:{}/0/2.jpg", "127.0.0.19:{}/7/2.jpg"):
            with urllib.request.urlopen("http://" + url.format(server.port)) as response:
                assert response.read() == files[2].read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/robots.txt")
        assert server.cpu_s() > 0


def test_near_duplicates_of_photographs_are_found_and_nothing_else(some_photos: list[Path]) -> None:
    figures = near_duplicates.measure(some_photos)
    assert figures["near_duplicate_pictures"] == 5 * len(some_photos)
    assert figures["near_duplicate_precision"] >= 0.99, figures
    assert figures["near_duplicate_recall"] >= 0.9, figures
    recalls = [point["recall"] for point in figures["near_duplicate_curve"]]
    assert recalls == sorted(recalls) and recalls[0] < figures["near_duplicate_recall"]


def test_quality_falls_with_the_encoder_s_quality(some_photos: list[Path]) -> None:
    stored = {
        quality: [
            normalise(file.read_bytes(), Limits(longest_side=256, jpeg_quality=quality)).bytes
            for file in some_photos[:10]
        ]
        for quality in (60, 95)
    }
    fine, coarse = (psnr_db(some_photos[:10], stored[quality]) for quality in (95, 60))
    assert fine > 36 > 34 > coarse
