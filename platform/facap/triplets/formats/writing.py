"""TRIPLETS -> a folder in a published layout, with a dataset card; there whole or not at all.

    >>> run(store, ExportConfig(layout="fashion_iq", folder="out"), Progress("export"))    # doctest: +SKIP
    StageReport(stage='export', rows_in=15536, rows_out=15536, ...)

Rows without a text are left out and counted. `pictures` writes the images of the export along, to images/.
"""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from facap.errors import ConfigError, FormatError
from facap.progress import Progress, StageReport
from facap.schemas import CAPTIONS, GALLERIES, TRIPLETS, conform
from facap.store import Store
from facap.triplets.formats import facap_layout, fashion_iq, parquet
from facap.triplets.formats.card import Figures, card, is_export
from facap.triplets.formats.config import ExportConfig
from facap.triplets.formats.entries import Part
from facap.triplets.formats.folder import new_folder
from facap.triplets.formats.gathering import Names, parts, texts_only
from facap.triplets.formats.names import is_path

IMAGES_FOLDER = "images"
HOW = {
    "fashion_iq": "In Fashion IQ's layout: `captions/cap.<category>.<split>.json`, where `candidate` is the "
    "reference, and the lists of images, `image_splits/split.<category>.<split>.json`.",
    "facap": "In FACap's layout: `cir_triplets/<category>_<split>_triplets.json`, where `candidate` is the "
    "reference, and captions of images, `image_captions/<category>_<split>_captions.json`.",
    "parquet": "Parquet tables: `triplets`, and `galleries` and `captions` if there are any.",
}


def run(store: Store, config: ExportConfig, progress: Progress) -> StageReport:
    """Writes the export. Raises ConfigError if the folder is there, FormatError for unwritable rows."""
    started = time.monotonic()
    if not config.folder or "://" in config.folder:
        raise ConfigError("exports.folder should be a folder on this machine; the export makes it")
    path = Path(config.folder).expanduser().absolute()
    store.require("triplets")
    triplets = _of_splits(_read(store, "triplets", TRIPLETS), config)
    galleries = _of_splits(_read(store, "galleries", GALLERIES), config)
    captions = _read(store, "captions", CAPTIONS)
    chosen, left_out = texts_only(triplets)
    if not chosen.num_rows and not galleries.num_rows:
        raise FormatError(f"TRIPLETS has no row with a text in {', '.join(config.splits)}: nothing to export")
    names, figures = Names(galleries, as_ids=config.layout == "parquet"), Figures()
    exported: list[Part] = []  # without their triplets: what has pictures
    with new_folder(path, config.replace, is_export) as folder:
        for part in parts(chosen, names, captions if config.layout == "facap" else None):
            _write(config.layout, folder, part)
            texts = ((entry.reference, entry.target, entry.captions) for entry in part.entries or [])
            num_listed = None if part.gallery is None else len(part.gallery)
            figures.add(part.category, part.split, texts, num_listed)
            exported.append(Part(part.category, part.split, gallery=part.images()))
        if config.layout == "parquet":
            for name, table in (("triplets", chosen), ("galleries", galleries), ("captions", captions)):
                if table.num_rows:
                    parquet.write(folder, name, table)
        if config.pictures:
            wanted = _picture_files(config.layout, exported, names)
            progress.say(f"{_write_pictures(store, folder / IMAGES_FOLDER, wanted):,} pictures")
        text = card(
            config.name,
            config.licence,
            config.provenance,
            HOW[config.layout],
            figures,
            _origin(store, chosen),
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
    return StageReport(
        "export",
        rows_in=triplets.num_rows,
        rows_out=figures.num_triplets,
        failures=dict(left_out),
        seconds=time.monotonic() - started,
        note=f"{config.layout} in {path}",
    )


def _read(store: Store, name: str, schema: pa.Schema) -> pa.Table:
    """A dataset, also of an earlier version of its schema; no rows if it is not there."""
    manifest = store.manifest(name)
    files = manifest.files if manifest else []
    tables = [conform(store.read_file(name, file), schema) for file in files]
    return pa.concat_tables([schema.empty_table(), *tables])


def _of_splits(table: pa.Table, config: ExportConfig) -> pa.Table:
    return table.filter(pc.is_in(table["split"], value_set=pa.array(config.splits, pa.string())))


def _write(layout: str, folder: Path, part: Part) -> None:
    if layout == "fashion_iq":
        fashion_iq.write(folder, part)
    elif layout == "facap":
        facap_layout.write(folder, part)


def _picture_files(layout: str, exported: list[Part], names: Names) -> dict[str, set[str]]:
    """image_id -> the files that it becomes."""
    module = {"fashion_iq": fashion_iq, "facap": facap_layout, "parquet": parquet}[layout]
    files: dict[str, set[str]] = {}
    for part in exported:
        ids = names.lists.get((part.category, part.split), part.gallery or [])
        for image_id, name in zip(ids, part.gallery or [], strict=True):
            file = module.picture_file(name, part.category)
            if not is_path(file):
                raise FormatError(f"'{file[:80]}' cannot be the name of a picture's file")
            files.setdefault(image_id, set()).add(file)
    return files


def _write_pictures(store: Store, folder: Path, wanted: dict[str, set[str]]) -> int:
    """The pictures of IMAGES that are `wanted`, one part of IMAGES in memory at a time; returns how many."""
    ids = pa.array(wanted, pa.string())
    written: set[str] = set()
    for file in store.require("images").files:
        rows = store.read_file("images", file, ["image_id", "bytes"])
        rows = rows.filter(pc.is_in(rows["image_id"], value_set=ids))
        for row in rows.to_pylist():
            for name in wanted[row["image_id"]] - written if row["bytes"] else ():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(row["bytes"])
                written.add(name)
    return len(written)


def _origin(store: Store, triplets: pa.Table) -> dict[str, list[str]]:
    """What the card says of how the triplets came about."""
    manifest = store.require("triplets")
    return {
        "Fingerprint of TRIPLETS": [manifest.fingerprint],
        "Made from": [f"{name} {print_}" for name, print_ in sorted(manifest.inputs.items())],
        "Texts by": sorted(set(triplets["model"].to_pylist())),
        "Prompts": sorted(set(triplets["prompt_hash"].to_pylist())),
        "Code": [manifest.code_version],
        "Made at": [manifest.created_at],
    }
