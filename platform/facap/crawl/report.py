"""The report of a crawl: one HTML file that needs nothing else, the figures as JSON, and an MLflow run.

    <workspace>/reports/crawl.html  crawl.json          of the version of IMAGES that is the finished one

What pictures, addresses and servers say is untrusted: the template escapes all of it, nothing is a link, and
the page forbids itself scripts and any request. Its size is bounded by the numbers below.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from facap import reports
from facap.crawl.figures import COLUMNS, summarise
from facap.crawl.increments import VANISHED
from facap.crawl.likeness import difference, thumbnail
from facap.schemas import IMAGES, OK
from facap.store import Manifest, Stage, Store

MOST_KEPT = 48
MOST_PAIRS = 24
MOST_REJECTED = 60
PER_REASON = 8
THUMB_PX, THUMB_QUALITY = 144, 75
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def publish(store: Store, mlflow_uri: str) -> dict[str, Any]:
    """Writes the report of the finished IMAGES and returns its figures; does nothing if it is there."""
    manifest = store.require("images")
    there = reports.kept(store, "crawl", manifest.fingerprint)
    if there is not None:
        return there
    stage = Stage(store, "images", IMAGES, manifest.key)
    rows = stage.read([*COLUMNS, "error"])
    figures = {"fingerprint": manifest.fingerprint, "created_at": manifest.created_at}
    figures |= summarise(rows, manifest.seconds)
    page = render(stage, rows, figures)
    _track(store, mlflow_uri, manifest, figures, page)
    reports.keep(store, "crawl", page, figures)
    return figures


def render(stage: Stage, rows: pa.Table, figures: dict[str, Any]) -> str:
    """The page; `rows` are all rows of `stage`, with COLUMNS and `error`."""
    status, copy_of = rows.column("status"), rows.column("duplicate_of")
    good = pc.equal(status, OK)
    kept = rows.filter(pc.and_(good, pc.is_null(copy_of))).sort_by("item_id").slice(0, MOST_KEPT)
    pairs = _pairs(rows.filter(pc.and_(good, pc.is_valid(copy_of))), rows)
    shown = {*kept.column("item_id").to_pylist(), *(item for pair in pairs for item in pair[:2])}
    pictures = _pictures(stage, shown)
    return reports.template(TEMPLATE).render(
        figures=figures,
        short=_short,
        thumb=lambda item: reports.picture_uri(pictures[item], THUMB_PX, THUMB_QUALITY),
        kept=[row for row in kept.to_pylist() if row["item_id"] in pictures],
        rejected=_rejected(rows),
        pairs=[
            {"first": first, "again": copy, "exact": exact, "apart": _apart(pictures[first], pictures[copy])}
            for first, copy, exact in pairs
        ],
    )


def _pairs(copies: pa.Table, rows: pa.Table) -> list[tuple[str, str, bool]]:
    """(item that stays, its duplicate, whether their bytes are equal); those that only look equal first."""
    copies = copies.sort_by("item_id")
    firsts = pc.index_in(copies.column("duplicate_of"), value_set=rows.column("item_id"))
    exact = pc.equal(copies.column("image_id"), rows.column("image_id").take(firsts)).to_pylist()
    columns = (copies.column("duplicate_of").to_pylist(), copies.column("item_id").to_pylist(), exact)
    return sorted(zip(*columns, strict=True), key=lambda pair: pair[2])[:MOST_PAIRS]


def _rejected(rows: pa.Table) -> list[dict[str, Any]]:
    """Some rows of every reason, the commonest reason first."""
    failed = rows.filter(pc.invert(pc.is_in(rows.column("status"), value_set=pa.array([OK, VANISHED]))))
    reasons = failed.group_by("status").aggregate([("item_id", "count")])
    chosen: list[dict[str, Any]] = []
    for reason in reasons.sort_by([("item_id_count", "descending"), ("status", "ascending")]).to_pylist():
        some = failed.filter(pc.equal(failed.column("status"), reason["status"]))
        chosen += some.sort_by("item_id").slice(0, PER_REASON).to_pylist()
    return chosen[:MOST_REJECTED]


def _pictures(stage: Stage, items: set[str]) -> dict[str, bytes]:
    wanted = pa.array(sorted(items), pa.string())
    found: dict[str, bytes] = {}
    for part in stage.parts("part-"):
        if pc.any(pc.is_in(stage.read_part(part, ["item_id"]).column("item_id"), value_set=wanted)).as_py():
            some = stage.read_part(part, ["item_id", "bytes"])
            some = some.filter(pc.is_in(some.column("item_id"), value_set=wanted))
            found |= {row["item_id"]: row["bytes"] for row in some.to_pylist()}
    return found


def _apart(one: bytes, other: bytes) -> str:
    """How far apart two pictures are, as likeness.py sees them."""
    return f"{difference(thumbnail(one), thumbnail(other)):.1f}"


def _short(number: float) -> str:
    """A number for the axis of a histogram: 512, 4k, 2M.

    >>> _short(4096), _short(3_000_000)
    ('4k', '3M')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2g}{unit}" if number < 10 * size else f"{number / size:.0f}{unit}"
    return f"{number:g}"


def _track(store: Store, mlflow_uri: str, manifest: Manifest, figures: dict[str, Any], page: str) -> None:
    metrics = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    metrics |= {f"status/{status}": number for status, number in figures["counts"].items()}
    for name in ("latency_ms", "body_bytes"):
        metrics |= {f"{name}/{q}": figures[name][q] for q in ("p50", "p95") if q in figures[name]}
    reports.track(
        store, mlflow_uri, "crawl", manifest.config | {"inputs": manifest.inputs}, metrics, page, figures
    )
