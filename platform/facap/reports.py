"""What the stages' reports share: an HTML file that needs nothing else, its figures as JSON, an MLflow run.

    <workspace>/reports/<name>.html  <name>.json          both written whole, the figures last

    >>> page = template(Path("report.html.jinja")).render(figures=figures)         # doctest: +SKIP
    >>> keep(store, "crawl", page, figures)                                        # doctest: +SKIP

What pages show is untrusted: templates escape all of it, and pages forbid themselves any request.
"""

import base64
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import jinja2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import simplejpeg

from facap.store import Store
from facap.tracking import open_client, start_run


def template(path: Path) -> jinja2.Template:
    """The template in `path`: all that it shows is escaped, a name that it misspells is an error."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(path.read_text())


def address(store: Store, name: str) -> str:
    """Where the page `name` lies."""
    return store.path("reports", f"{name}.html")


def keep(store: Store, name: str, page: str, figures: Mapping[str, Any]) -> None:
    """Writes the page `name`, then its figures."""
    write_text(address(store, name), page)
    write_text(store.path("reports", f"{name}.json"), json.dumps(figures, indent=1) + "\n")


def kept(store: Store, name: str, fingerprint: str) -> dict[str, Any] | None:
    """The figures of the report `name`, if they are of the dataset with this fingerprint."""
    there = read_json(store.path("reports", f"{name}.json"))
    return there if there is not None and there.get("fingerprint") == fingerprint else None


def track(
    store: Store,
    mlflow_uri: str,
    name: str,
    params: dict[str, Any],
    metrics: Mapping[str, float],
    page: str,
    figures: dict[str, Any],
) -> None:
    """The same as the MLflow run `name`."""
    client = open_client(store, mlflow_uri)
    run = start_run(client, name, params).info.run_id
    for metric, value in metrics.items():
        client.log_metric(run, metric, value)
    client.log_dict(run, figures, f"{name}.json")
    client.log_text(run, page, f"{name}.html")
    client.set_terminated(run)


def pictures(store: Store, image_ids: Iterable[str]) -> dict[str, bytes]:
    """The JPEGs of these images, by image_id; those that IMAGES does not hold are left out."""
    wanted = pa.array(sorted(set(image_ids)), pa.string())
    found: dict[str, bytes] = {}
    for file in store.require("images").files:
        ids = store.read_file("images", file, ["image_id"]).column("image_id")
        if pc.any(pc.is_in(ids, value_set=wanted)).as_py():
            rows = store.read_file("images", file, ["image_id", "bytes"])
            rows = rows.filter(pc.is_in(rows.column("image_id"), value_set=wanted))
            found |= {row["image_id"]: row["bytes"] for row in rows.to_pylist() if row["bytes"]}
    return found


def picture_uri(jpeg: bytes, longest_side: int, quality: int) -> str:
    """A data: URI of the picture as a JPEG that fits into a square of `longest_side` px."""
    rgb_HWC = simplejpeg.decode_jpeg(jpeg, min_height=longest_side, min_width=longest_side, strict=False)
    height, width = rgb_HWC.shape[:2]
    scale = longest_side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb_HWC, size, interpolation=cv2.INTER_AREA)
    data = simplejpeg.encode_jpeg(small, quality, colorsubsampling="420")
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def read_json(path: str) -> dict[str, Any] | None:
    """The mapping in a JSON file of ours; None if there is none."""
    fs, inner = pyarrow.fs.FileSystem.from_uri(path)
    try:
        with fs.open_input_stream(inner) as source:
            found = json.loads(source.read())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_text(path: str, text: str) -> None:
    """Writes a file on a local path or an s3:// URI, there whole or not at all."""
    fs, inner = pyarrow.fs.FileSystem.from_uri(path)
    fs.create_dir(inner.rpartition("/")[0], recursive=True)
    temporary = f"{inner}.{uuid.uuid4().hex}.tmp"
    with fs.open_output_stream(temporary) as out:
        out.write(text.encode())
    fs.move(temporary, inner)
