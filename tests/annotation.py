"""Rows of IMAGES and CAPTIONS that tests of the annotation stages begin with."""

import io
import json
from datetime import UTC, datetime

import PIL.Image
import PIL.ImageDraw
import pyarrow as pa

from facap.annotate import taxonomy
from facap.schemas import from_rows
from facap.store import Store

COLOURS = ("red", "navy", "green", "orange", "purple", "black")
TOPS = range(12, 18)  # the other pictures are of dresses


def picture(number: int) -> bytes:
    """A drawn garment, JPEG."""
    image = PIL.Image.new("RGB", (256, 320), (235, 230, 225))
    draw = PIL.ImageDraw.Draw(image)
    hem = 200 + 4 * (number % 24)
    draw.polygon([(100, 60), (156, 60), (190, hem), (66, hem)], fill=COLOURS[number % len(COLOURS)])
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def image_row(number: int, **changes: object) -> dict:
    row = {
        "item_id": f"item{number:02}",
        "image_id": f"{number:032x}",
        "product_id": f"p{number // 2}",
        "category": "top" if number in TOPS else "dress",
        "url": f"http://example.test/{number}.jpg",
        "status": "ok",
        "bytes": picture(number),
        "format": "jpeg",
        "width": 256,
        "height": 320,
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return row | changes


def put(store: Store, name: str, schema: pa.Schema, rows: list[dict], parts: int = 1) -> None:
    stage = store.stage(name, schema, "given")
    for part in range(parts):
        stage.write(from_rows(rows[part::parts], schema))
    stage.commit(config={}, inputs={})


def caption_row(number: int, caption: str | None) -> dict:
    return {
        "image_id": f"{number:032x}",
        "item_id": f"item{number:02}",
        "product_id": f"p{number // 2}",
        "category": "dress",
        "caption": caption,
        "model": "m",
        "prompt_hash": "earlier",
        "params_hash": "earlier",
        "status": "ok" if caption else "empty",
    }


def told(reference: str, target: str) -> dict[str, str]:
    """What a pair gets from CAPTIONS that say this of its two pictures."""
    texts = {"reference": reference, "target": target}
    stated = {side: json.dumps(taxonomy.load().attributes(text)) for side, text in texts.items()}
    captions = {f"{side}_caption": text for side, text in texts.items()}
    return captions | {f"{side}_attributes": attributes for side, attributes in stated.items()}
