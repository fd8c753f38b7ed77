"""The spot check in a real Chromium: marking by keys, a reload, an export that is scored."""

import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import pytest

from benchmarks.take_screenshot import browser_path, open_page
from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import sample_garment, sample_variant
from facap.review import page as review_page
from facap.review import scoring
from facap.review.config import ReviewConfig
from facap.review.marks import read_marks
from facap.schemas import CATEGORIES, IMAGES, TRIPLETS, from_rows
from facap.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
HOSTILE = "</blockquote><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
NUM_TRIPLETS = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Triplets of rendered garments; one text tries to run."""
    store = Store(str(tmp_path_factory.mktemp("review")))
    rng = random.Random(0)
    fetched = {"product_id": "p", "url": "u", "status": "ok", "fetched_at": datetime.now(UTC)}
    made_by = {"split": "train", "model": "m", "prompt_hash": "p", "params_hash": "p", "status": "ok"}
    images, triplets = [], []
    for number in range(NUM_TRIPLETS):
        garment = sample_garment(rng, CATEGORIES[number % 3])
        ids = {"reference_id": f"r{number:02}", "target_id": f"t{number:02}", "category": garment.category}
        for image_id, shown in (
            (ids["reference_id"], garment),
            (ids["target_id"], sample_variant(rng, garment)),
        ):
            out = io.BytesIO()
            PIL.Image.fromarray(render(shown, sample_view(rng))).save(out, "JPEG")
            images.append(
                fetched
                | {
                    "item_id": image_id,
                    "image_id": image_id,
                    "category": garment.category,
                    "bytes": out.getvalue(),
                }
            )
        text = HOSTILE if number == 5 else f"change it, number {number}"
        triplets.append(ids | made_by | {"modification": text, "quality": (number % 4 + 1) / 4})
    for name, schema, rows in (("images", IMAGES, images), ("triplets", TRIPLETS, triplets)):
        stage = store.stage(name, schema, "k")
        stage.write(from_rows(rows, schema))
        stage.commit({}, {})
    return store


@pytest.fixture
def page(store: Store) -> Iterator["Page"]:
    """The page, opened from its file; whatever it logs as an error fails the test."""
    if browser_path() is None:
        pytest.skip("no chromium on this machine")
    built = review_page.build(store, ReviewConfig(num_triplets=NUM_TRIPLETS))
    with open_page(Path(built.address).as_uri(), width=1280, height=900) as opened:
        problems: list[str] = []
        requests: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        opened.on("request", lambda r: requests.append(r.url) if r.url.startswith("http") else None)
        yield opened
        assert problems == [] and requests == []


def count(page: "Page") -> str:
    return page.locator("#count").inner_text()


def dots(page: "Page") -> list[str]:
    found = page.locator("#dots button").evaluate_all("all => all.map(dot => dot.className.slice(4))")
    return [str(one) for one in found]


def test_keys_mark_undo_and_move_and_a_reload_keeps_the_marks(page: "Page") -> None:
    assert count(page) == f"Triplet 1 of {NUM_TRIPLETS} · 0 marked"
    assert page.locator(".triplet:visible").count() == 1
    for key in ("g", "B", "g"):
        page.keyboard.press(key)
    assert dots(page)[:4] == ["good", "bad", "good", ""] and "Triplet 4" in count(page)
    page.keyboard.press("u")
    assert dots(page)[:4] == ["good", "bad", "", ""] and "Triplet 3" in count(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("g")  # another opinion on the second; on to the first that is open
    assert dots(page)[:3] == ["good", "good", ""] and "Triplet 3" in count(page)
    page.keyboard.press("u")
    assert dots(page)[:3] == ["good", "bad", ""] and "Triplet 2" in count(page)
    page.keyboard.press("End")
    assert f"Triplet {NUM_TRIPLETS} " in count(page)
    page.locator("#reviewer").fill("")
    page.locator("#reviewer").press_sequentially("gb bug")  # a name is no command
    assert dots(page)[:3] == ["good", "bad", ""]
    page.reload()
    assert dots(page)[:3] == ["good", "bad", ""] and f"Triplet {NUM_TRIPLETS} " in count(page)
    assert page.locator("#reviewer").input_value() == "gb bug"
    assert page.locator("#undo").is_disabled()


def test_what_texts_say_is_shown_and_not_run(page: "Page") -> None:
    texts = page.locator("blockquote").all_text_contents()
    assert len(texts) == NUM_TRIPLETS and HOSTILE in texts
    assert page.title() == "facap · spot check"
    drawn = page.locator("img").evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    assert drawn and page.locator("img").count() == 2 * NUM_TRIPLETS
    page.evaluate("document.body.append(Object.assign(document.createElement('i'), {id: 'there'}))")
    assert page.locator("#there").count() == 1
    assert page.locator("script").count() == 1


def test_the_export_is_what_the_scoring_reads(page: "Page", store: Store, tmp_path: Path) -> None:
    page.locator("#good").click()
    page.locator("#export").click()
    assert "name is missing" in page.locator("#hint").inner_text()
    page.locator("#reviewer").fill("Ann Übel")
    page.evaluate("document.activeElement.blur()")
    for number in range(1, NUM_TRIPLETS):
        page.keyboard.press("gb"[number % 2])
    assert "All 12 are marked: 6 good, 6 bad" in page.locator("#summary").inner_text()
    with page.expect_download() as download:
        page.locator("#export").click()
    assert download.value.suggested_filename == f"marks-Ann-Übel-{store.fingerprint('triplets')}.json"
    path = tmp_path / "ann.json"
    download.value.save_as(path)
    found = read_marks(str(path))
    assert found.reviewer == "Ann Übel" and len(found.marks) == NUM_TRIPLETS
    figures = scoring.score(store, ReviewConfig(marks=(str(path),), num_resamples=100))
    assert figures["marked"] == NUM_TRIPLETS and figures["reviewers"][0]["good"] == 6


def test_a_store_that_was_tampered_with_is_passed_over(page: "Page") -> None:
    page.keyboard.press("g")
    page.evaluate(
        "localStorage.setItem(Object.keys(localStorage)[0],"
        " JSON.stringify({at: 99, reviewer: 7, marks: {x: {mark: 'good'}, 'r00\\nt00': {mark: 'great'}}}))"
    )
    page.reload()
    assert count(page) == f"Triplet 1 of {NUM_TRIPLETS} · 0 marked"
    page.evaluate("localStorage.setItem(Object.keys(localStorage)[0], '{')")
    page.reload()
    page.keyboard.press("b")
    assert count(page) == f"Triplet 2 of {NUM_TRIPLETS} · 1 marked"
    assert "keeps no marks" in page.locator("#hint").inner_text()
