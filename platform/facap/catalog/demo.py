"""The demo catalogue: rendered garments in a folder, a manifest of them, and the truth about them.

    <workspace>/demo/data-<key>/images/P00421-1.jpg    one picture a product and view
    <workspace>/demo/data-<key>/manifest.csv           what a retailer would hand over
    <workspace>/demo/data-<key>/truth.parquet          attributes and planned faults of every address

The truth is for the server, which plays the faults, and for tests and evaluations of the demo;
the pipeline reads the manifest only, and the manifest says nothing of a garment but its category.
"""

import csv
import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from facap.catalog.config import CatalogConfig
from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import Garment, sample_catalogue
from facap.errors import ConfigError
from facap.progress import Progress
from facap.store import Store, stage_key

VERSION = 1  # raise when garments, drawing or faults change what is rendered
JPEG_QUALITY = 92
PRODUCTS_PER_TASK = 16

FAULTS = {"dead": 0.01, "slow": 0.005, "duplicate": 0.01, "not_an_image": 0.005, "truncated": 0.005}
"""Share of the pictures that get each fault. Slow is the picture's own address; for the others
the manifest lists one more address of the product, so that every good picture stays."""

_TRUTH = pa.schema(
    [
        ("product_id", pa.string()),
        ("url", pa.string()),
        ("path", pa.string()),  # of the url
        ("file", pa.string()),  # the picture, below the folder
        ("view", pa.int32()),
        ("fault", pa.string()),  # a key of FAULTS, or null
        ("category", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)


@dataclass(frozen=True)
class Address:
    """One line of the manifest; `number` counts products from 0, `view` from 1."""

    number: int
    view: int
    fault: str | None = None

    @property
    def product_id(self) -> str:
        """E.g. "P00421"."""
        return f"P{self.number:05}"

    @property
    def file(self) -> str:
        """The picture's path below the demo folder."""
        return f"images/{self.product_id}-{self.view}.jpg"

    @property
    def path(self) -> str:
        """The path of its URL; further addresses of a product look like any other."""
        again = "" if self.fault in (None, "slow") else "b"
        return f"/images/{self.product_id}-{self.view}{again}.jpg"


def addresses(num_products: int, views: int, seed: int) -> list[Address]:
    """Every line of the manifest. Which picture gets which fault follows from a hash of its name."""
    pictures = [Address(number, view) for number in range(num_products) for view in range(1, views + 1)]
    by_hash = sorted(pictures, key=lambda p: hashlib.sha256(f"{seed}/{p.file}".encode()).digest())
    lines = set(pictures)
    for fault, share in FAULTS.items():
        count = max(1, round(share * len(pictures)))
        for picture in by_hash[:count]:
            if fault == "slow":
                lines.remove(picture)
            lines.add(Address(picture.number, picture.view, fault))
        by_hash = by_hash[count:]
    return sorted(lines, key=lambda a: (a.number, a.view, a.path))


def build(store: Store, config: CatalogConfig, progress: Progress) -> str:
    """Renders what is missing; returns the folder. Instant if it was finished before."""
    if not store.is_local:
        raise ConfigError(
            f"the demo catalogue is rendered to a local workspace, {store.root} is remote; "
            "set catalog.manifest to a catalogue of your own"
        )
    settings = config.for_demo()
    stage = store.stage("demo", None, stage_key("demo", VERSION, settings, {}))
    if stage.finished():
        return stage.folder
    folder = Path(stage.folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    garments = sample_catalogue(config.num_products, config.seed)
    _render_all(folder, garments, config, progress)
    lines = addresses(config.num_products, config.views, config.seed)
    _write_truth(folder / "truth.parquet", lines, garments, config.port)
    _write_manifest(folder / "manifest.csv", lines, garments, config.port)
    stage.commit(settings, inputs={}, files=["manifest.csv", "truth.parquet"])
    return stage.folder


def _render_all(folder: Path, garments: list[Garment], config: CatalogConfig, progress: Progress) -> None:
    import ray.data

    there = {name for name in os.listdir(folder / "images") if name.endswith(".jpg")}
    todo = [n for n in range(len(garments)) if not there.issuperset(_names(n, config.views))]
    total, done = len(garments), len(garments) - len(todo)
    progress.update(done, total, "products drawn")
    if not todo:
        return
    painter = _Painter(str(folder), garments, config.views, config.seed)
    tasks = pa.table({"number": todo})
    blocks = [tasks.slice(i, PRODUCTS_PER_TASK) for i in range(0, len(todo), PRODUCTS_PER_TASK)]
    drawn = ray.data.from_arrow(blocks).map_batches(painter, batch_format="pyarrow", batch_size=None)
    for row in drawn.iter_rows():
        done += row["products"]
        progress.update(done, total, "products drawn")


def _names(number: int, views: int) -> list[str]:
    return [Path(Address(number, view).file).name for view in range(1, views + 1)]


class _Painter:
    """Draws the products of a batch; a picture is there whole or not at all."""

    def __init__(self, folder: str, garments: list[Garment], views: int, seed: int) -> None:
        self.folder, self.garments, self.views, self.seed = folder, garments, views, seed

    def __call__(self, batch: pa.Table) -> pa.Table:
        for number in batch.column("number").to_pylist():
            for view in range(1, self.views + 1):
                rng = random.Random(f"{self.seed}/{number}/{view}")
                picture = Image.fromarray(render(self.garments[number], sample_view(rng)))
                path = f"{self.folder}/{Address(number, view).file}"
                picture.save(f"{path}.tmp", "JPEG", quality=JPEG_QUALITY)
                os.replace(f"{path}.tmp", path)
        return pa.table({"products": [batch.num_rows]})


def _write_truth(path: Path, lines: list[Address], garments: list[Garment], port: int) -> None:
    rows: list[dict[str, Any]] = [
        {
            "product_id": line.product_id,
            "url": _url(line, port),
            "path": line.path,
            "file": line.file,
            "view": line.view,
            "fault": line.fault,
            "category": garments[line.number].category,
            "attributes": list(garments[line.number].attributes().items()),
        }
        for line in lines
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_TRUTH), path)


def _write_manifest(path: Path, lines: list[Address], garments: list[Garment], port: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_id", "category", "url", "title"])
        for line in lines:
            category = garments[line.number].category
            writer.writerow([line.product_id, category, _url(line, port), f"Style {line.number:04}"])


def _url(line: Address, port: int) -> str:
    return f"http://127.0.0.1:{port}{line.path}"
