"""A dataset's folder -> TRIPLETS, GALLERIES, CAPTIONS and, with pictures, IMAGES.

    >>> run(store, ImportConfig(folder="fashion-iq"), Progress("import"), decoder)      # doctest: +SKIP
    StageReport(stage='import', rows_in=30134, rows_out=24013, failures={'no_target': 6118, ...}, ...)

Each becomes the finished version of its dataset, TRIPLETS last. The key is made from the files' contents, so
an import that is there already is reused. Without pictures an image's id is made of its name.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from facap.errors import ConfigError, FormatError
from facap.progress import Progress, StageReport
from facap.schemas import CAPTIONS, GALLERIES, OK, TRIPLETS, from_rows, key_columns
from facap.store import Manifest, Store, fingerprint, stage_key
from facap.triplets.formats import facap_layout, fashion_iq, parquet, pictures
from facap.triplets.formats.config import ImportConfig
from facap.triplets.formats.documents import content_hash
from facap.triplets.formats.entries import Part, to_row
from facap.triplets.formats.names import image_id_of, product_id_of
from facap.triplets.formats.pictures import Decoder, ImageKey

VERSION = 1
LAYOUTS: dict[str, ModuleType] = {"fashion_iq": fashion_iq, "facap": facap_layout}  # of JSON files
ROWS_AT_ONCE = 20_000
NOT_ASKED = "none"  # prompt and sampling of texts that no LLM of ours wrote
DATASETS = {"galleries": GALLERIES, "captions": CAPTIONS, "triplets": TRIPLETS}


def run(store: Store, config: ImportConfig, progress: Progress, decoder: Decoder) -> StageReport:
    """Imports the folder; raises FormatError for what is not of the layout, and imports nothing then."""
    started = time.monotonic()
    folder = _folder(config.folder, "imports.folder")
    before = [store.manifest(name) for name in ("images", *DATASETS)]
    read = _read_tables if config.layout == "parquet" else _read_json
    made = [manifest for manifest in read(store, folder, config, progress, decoder) if manifest is not None]
    if not made:
        raise FormatError(f"the files in {folder} hold no rows; there is nothing to import")
    main = made[-1]
    counts = Counter(main.counts)
    rows_out = counts.pop(OK, 0)
    return StageReport(
        "import",
        rows_in=main.rows,
        rows_out=rows_out,
        failures=dict(counts),
        seconds=time.monotonic() - started,
        reused=all(manifest in before for manifest in made),
        note=", ".join(f"{manifest.rows:,} {manifest.name}" for manifest in made),
    )


def _read_tables(
    store: Store, folder: Path, config: ImportConfig, progress: Progress, decoder: Decoder
) -> list[Manifest | None]:
    """The datasets of a folder in our own layout, TRIPLETS last."""
    if config.images:
        raise ConfigError("imports.images goes with the layouts fashion_iq and facap, not with parquet")
    found = parquet.files(folder)
    source = _source(list(found.values()), folder)
    tables = {
        name: parquet.read(name, path, config.splits, config.categories, config.max_file_mib << 20)
        for name, path in found.items()
    }
    return [_fill(store, name, tables[name], config, source, {}) for name in DATASETS if name in tables]


def _read_json(
    store: Store, folder: Path, config: ImportConfig, progress: Progress, decoder: Decoder
) -> list[Manifest | None]:
    """The datasets of a folder in a layout of JSON files: IMAGES if pictures are given, TRIPLETS last."""
    layout = LAYOUTS[config.layout]
    paths = list(layout.files(folder, config.splits, config.categories).values())
    source = _source(paths, folder)
    shown: Manifest | None = None
    ids: dict[ImageKey, str | None] = {}
    for _ in _parts(layout, folder, config):  # a fault in any file is found before anything is written
        pass
    if config.images:
        images = _folder(config.images, "imports.images")
        listed = pictures.find(images, _parts(layout, folder, config), layout.picture_names)
        shown = pictures.run(store, listed, config, decoder, progress)
        ids = pictures.image_ids(store, listed)
    inputs = {"images": shown.fingerprint} if shown else {}
    made_by = {
        "model": f"imported/{config.name or config.layout}@{source}",
        "prompt_hash": NOT_ASKED,
        "params_hash": NOT_ASKED,
    }
    rows = {
        "galleries": _gallery_rows(_parts(layout, folder, config), ids),
        "captions": _caption_rows(_parts(layout, folder, config), ids, made_by),
        "triplets": _triplet_rows(_parts(layout, folder, config), ids, made_by),
    }
    made = [
        _fill(store, name, _as_tables(rows[name], schema), config, source, inputs)
        for name, schema in DATASETS.items()
    ]
    return [shown, *made]


def _folder(path: str, setting: str) -> Path:
    if not path:
        raise ConfigError(f"{setting} is empty; give the dataset's folder")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FormatError(f"{setting} '{path}' is not a folder on this machine")
    return folder


def _source(paths: list[Path], folder: Path) -> str:
    """What the files hold, wherever they lie."""
    return fingerprint(sorted((str(path.relative_to(folder)), content_hash(path)) for path in paths))


def _parts(layout: ModuleType, folder: Path, config: ImportConfig) -> Iterator[Part]:
    return layout.read(folder, config.splits, config.categories, config.max_file_mib << 20)


def _ids_of(part: Part, ids: dict[ImageKey, str | None]) -> dict[str, str | None]:
    """name -> image_id of the pictures that were given for a part."""
    keys = ((name, (part.category, part.split, name)) for name in part.images())
    return {name: ids[key] for name, key in keys if key in ids}


def _triplet_rows(
    parts: Iterable[Part], ids: dict[ImageKey, str | None], made_by: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for part in parts:
        known = _ids_of(part, ids)
        for place, entry in enumerate(part.entries or []):
            yield to_row(entry, part.category, part.split, place, made_by, known)


def _gallery_rows(parts: Iterable[Part], ids: dict[ImageKey, str | None]) -> Iterator[dict[str, Any]]:
    """Lists of the dataset's own; with pictures also of the others, since they tell what an id was called."""
    for part in parts:
        known = _ids_of(part, ids)
        for place, name in enumerate(part.images() if ids or part.gallery is not None else []):
            image_id = known.get(name) or image_id_of(name, part.category)
            row = {"category": part.category, "split": part.split, "place": place}
            yield row | {"name": name, "image_id": image_id}


def _caption_rows(
    parts: Iterable[Part], ids: dict[ImageKey, str | None], made_by: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for part in parts:
        known = _ids_of(part, ids)
        for name, caption in part.descriptions.items():
            blank = not caption.strip()
            yield {
                "image_id": known.get(name) or image_id_of(name, part.category),
                "item_id": pictures.item_id_of(name, part.category, part.split),
                "product_id": product_id_of(name, part.category, part.split),
                "category": part.category,
                "caption": None if blank else caption,
                "raw": caption,
                "status": "empty" if blank else OK,
                "error": "the dataset has no text for the image" if blank else None,
                **made_by,
            }


def _as_tables(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_AT_ONCE:
            yield from_rows(batch, schema)
            batch = []
    if batch:
        yield from_rows(batch, schema)


def _fill(
    store: Store,
    name: str,
    tables: Iterator[pa.Table],
    config: ImportConfig,
    source: str,
    inputs: dict[str, str],
) -> Manifest | None:
    """The version of dataset `name` that holds `tables`; None if they have no rows."""
    settings = [config.layout, config.splits, config.name]
    inputs = {"source": source, **inputs}
    stage = store.stage(name, DATASETS[name], stage_key(f"import_{name}", VERSION, settings, inputs))
    if manifest := stage.finished():
        return manifest
    written = 0
    for table in tables:
        stage.write(table)
        written += table.num_rows
    if not written:
        return None
    keys = key_columns(DATASETS[name])
    if stage.read(keys).group_by(keys).aggregate([]).num_rows != written:
        raise FormatError(f"{name.upper()}: two rows agree in {', '.join(keys)}; each may be there once")
    return stage.commit(config.model_dump(mode="json"), inputs, expected=written)
