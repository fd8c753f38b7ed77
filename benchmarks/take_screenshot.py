"""Takes the README's picture of the search page in headless Chromium, from a running service.

$ python benchmarks/take_screenshot.py --url http://127.0.0.1:8000 --text "in navy"
{"screenshot": "docs/images/search-page.png", "results": 40, "server_ms": 31.5}
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",  # in containers we are root, where the sandbox refuses to start
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_S = 60
OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "search-page.png"


def browser_path() -> str | None:
    """An installed Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def open_page(url: str, width: int, height: int) -> "Iterator[Page]":
    """The page at `url` in a headless Chromium of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS, headless=True)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(1000 * PATIENCE_S)
            page.goto(url)
            yield page
        finally:
            browser.close()


def wait_for_pictures(page: "Page") -> None:
    """Returns when every picture within the window is drawn.

    Asks again and again from here: waiting inside the page needs eval, which the page forbids.
    """
    drawn = (
        "[...document.images].every(i => i.hidden || i.getBoundingClientRect().top > innerHeight"
        " || (i.complete && i.naturalWidth))"
    )
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(drawn):
        if time.monotonic() > deadline:
            raise TimeoutError(f"pictures of {page.url} were not drawn within {PATIENCE_S} s")
        page.wait_for_timeout(100)


def take(url: str, text: str, category: str, pick: int, out: Path, width: int, height: int) -> dict:
    """Picks the `pick`th garment of `category`, searches for `text`, and saves the window to `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_page(url, width, height) as page:
        page.wait_for_selector("#grid .card[data-id]")
        if category:
            with page.expect_response("**/api/catalog?*"):
                page.locator(f".filter[data-category={category}]").click()
            page.wait_for_selector("#grid .card[data-id]")
        page.locator("#grid .card[data-id]").nth(pick).click()
        page.locator("#text").fill(text)
        with page.expect_response("**/api/search") as answer:
            page.get_by_role("button", name="Search").click()
        page.wait_for_selector("#grid .rank")
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        wait_for_pictures(page)
        page.wait_for_timeout(500)  # the end of smooth scrolling and hover effects
        page.screenshot(path=str(out))
        body = answer.value.json()
    return {"screenshot": str(out), "results": len(body["results"]), "server_ms": body["timing_ms"]["total"]}


def main() -> int:
    """Parses the command line; the last line printed is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the running service")
    parser.add_argument(
        "--text", default="in navy, with long sleeves", help="modification text to search for"
    )
    parser.add_argument("--category", default="dress", help="category of the reference; empty for any")
    parser.add_argument("--pick", type=int, default=0, help="which garment of the catalogue, from 0")
    parser.add_argument("--out", type=Path, default=OUT, help="where the PNG goes")
    parser.add_argument("--size", default="1280x900", help="of the window, px")
    given = parser.parse_args()
    if browser_path() is None:
        print(f"no Chromium found under the names {', '.join(NAMES)}; install one", file=sys.stderr)
        return 1
    width, height = (int(side) for side in given.size.split("x"))
    made = take(given.url, given.text, given.category, given.pick, given.out, width, height)
    print(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
