"""TRIPLETS + IMAGES -> one HTML file on which a person marks triplets good or bad.

    <workspace>/reports/review.html          pictures, style and script in it; nothing is asked of a server

    >>> build(store, ReviewConfig(num_triplets=60))                               # doctest: +SKIP
    Built(address='/data/shop/reports/review.html', shown=60, usable=3581, lost=0)

Texts are untrusted: the template escapes them, the script handles them as text, and the page's policy allows
this very script and style, by their hashes, and no request. The score is not on the page, so that it cannot
sway anyone. Marks stay in the browser until they are exported; marks.py reads the file.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from facap import reports
from facap.errors import StageFailed
from facap.review import marks
from facap.review.config import ReviewConfig
from facap.review.sample import draw, lower_edges, usable
from facap.store import Store, fingerprint

NAME = "review"
JPEG_QUALITY = 80
TEMPLATE = Path(__file__).with_name("page.html.jinja")
STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")


@dataclass(frozen=True)
class Built:
    """Where the page is and what is on it."""

    address: str
    shown: int
    usable: int
    lost: int  # drawn, but one of the pictures is not in IMAGES


def build(store: Store, config: ReviewConfig) -> Built:
    """Draws the sample and writes the page. Raises StageFailed if no triplet has both its pictures."""
    triplets = usable(store, config.score)
    edges = lower_edges([triplet.score for triplet in triplets], config.buckets)
    drawn = draw(triplets, edges, config.num_triplets, config.seed)
    pictures = reports.pictures(store, {image_id for triplet in drawn for image_id in triplet.key})
    shown = [triplet for triplet in drawn if set(triplet.key) <= pictures.keys()]
    if not shown:
        raise StageFailed(
            "review: IMAGES holds the pictures of none of the triplets; run the crawl and the stages after "
            "it again, so that TRIPLETS and IMAGES belong together"
        )
    version = store.fingerprint("triplets")
    style, script = STYLE.read_text(), SCRIPT.read_text()
    page = reports.template(TEMPLATE).render(
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        triplets=shown,
        uri=lambda image_id: reports.picture_uri(pictures[image_id], config.picture_px, JPEG_QUALITY),
        version=version,
        sample=fingerprint([version, [triplet.key for triplet in shown]]),
        schema=marks.SCHEMA,
        schema_version=marks.VERSION,
        longest_name=marks.LONGEST_NAME,
    )
    reports.write_text(reports.address(store, NAME), page)
    return Built(reports.address(store, NAME), len(shown), len(triplets), len(drawn) - len(shown))


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy: this style, this script, pictures that are in the page, nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
