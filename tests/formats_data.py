"""Datasets for the tests of layouts: small ones by hand, and any that hypothesis can think of."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from facap.progress import Progress
from facap.schemas import OK, TRIPLETS, from_rows
from facap.store import Store
from facap.triplets.formats import reading, writing
from facap.triplets.formats.config import ExportConfig, ImportConfig
from facap.triplets.formats.entries import Entry, Part
from facap.triplets.formats.names import is_path, is_plain
from facap.triplets.formats.pictures import Decoder

NOTHING = Decoder(lambda data: {"status": "corrupt", "error": "no decoder here"}, {}, 10**6)
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
HASHES = ["0" * 31 + digit for digit in "123456"]  # as our own image ids look

texts = st.text(max_size=30)
plain_names = st.text(min_size=1, max_size=12).filter(is_plain)
paths = st.lists(plain_names, min_size=1, max_size=3).map("/".join).filter(is_path)


def parts_of(
    names: st.SearchStrategy[str], targets: bool, descriptions: bool
) -> st.SearchStrategy[list[Part]]:
    """Up to four parts; `targets`: each record has one; `descriptions`: images have captions."""

    @st.composite
    def part(draw: Any, category: str, split: str) -> Part:
        gallery = draw(st.lists(names, min_size=2, max_size=6, unique=True))
        chosen = st.sampled_from(gallery)
        secret = split == "test" and not targets
        entry = st.builds(
            Entry, chosen, st.none() if secret else chosen, st.lists(texts, max_size=3).map(tuple)
        )
        entries = draw(st.lists(entry, min_size=1, max_size=5))
        described = {name: draw(texts) for name in gallery} if descriptions else {}
        return Part(category, split, entries, gallery, described)

    groups = st.sampled_from([(c, s) for c in ("dress", "shirt", "toptee") for s in ("train", "val", "test")])
    chosen = st.lists(groups, min_size=1, max_size=4, unique=True).map(sorted)
    return chosen.flatmap(lambda found: st.tuples(*(part(*group) for group in found)).map(list))


def load(store: Store, folder: Path, layout: str, decoder: Decoder = NOTHING, **settings: Any) -> Any:
    """Imports `folder`; returns the report."""
    config = ImportConfig(layout=layout, folder=str(folder), **settings)
    return reading.run(store, config, Progress("import"), decoder)


def save(store: Store, folder: Path, layout: str, **settings: Any) -> Any:
    """Exports to `folder`; returns the report."""
    config = ExportConfig(layout=layout, folder=str(folder), **settings)
    return writing.run(store, config, Progress("export"))


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` but the card, which names the moment."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.name != "README.md"}


def triplets_of(store: Store, *columns: str) -> list[dict]:
    """TRIPLETS as rows in a fixed order."""
    rows = store.read("triplets", list(columns) or None).to_pylist()
    return sorted(rows, key=str)


def triplet(reference: int, target: int, **changes: Any) -> dict:
    """A row that an LLM of ours wrote about two of HASHES."""
    row = {
        "reference_id": HASHES[reference],
        "target_id": HASHES[target],
        "category": "dress",
        "modification": f"change it from {reference} to {target}",
        "split": "train",
        "quality": 0.5,
        "model": "facap/tiny-writer@1234",
        "prompt_hash": "p1",
        "params_hash": "s1",
        "raw": "raw",
        "status": OK,
    }
    return row | changes


def catalogue(folder: Path, rows: list[dict] | None = None) -> Store:
    """A workspace with TRIPLETS of our own: two categories, two splits, and one row that failed."""
    store = Store(str(folder))
    failed = triplet(4, 3, modification=None, status="too_long", error="over 96 tokens")
    given = [triplet(0, 1), triplet(1, 0), triplet(2, 3, category="top", split="test"), failed]
    stage = store.stage("triplets", TRIPLETS, "k")
    stage.write(from_rows(given if rows is None else rows, TRIPLETS))
    stage.commit(config={}, inputs={"pairs": "f00d"})
    return store
