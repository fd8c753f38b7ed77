"""As many rows out as went in: each kind of stage loses a part of what it wrote, and does not commit.

Stages that start an engine are met as a killed run leaves them: all rows are written, nothing is committed.
"""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.annotate import caption_pipeline, modify_pipeline
from facap.annotate.config import CaptionConfig, ModifyConfig
from facap.catalog import items, pages
from facap.catalog import pipeline as catalog
from facap.catalog.config import CatalogConfig
from facap.catalog.documents import Fetched
from facap.crawl import pipeline as crawl
from facap.crawl.config import CrawlConfig
from facap.crawl.increments import crawl_key
from facap.errors import ContractError
from facap.model import checkpoints, embed
from facap.progress import Progress
from facap.schemas import (
    ANSWERS,
    CAPTIONS,
    EMBEDDINGS,
    IMAGES,
    ITEMS,
    PAIRS,
    TRIPLETS,
    VERDICTS,
    from_rows,
    key_columns,
)
from facap.splits import split_of
from facap.store import Stage, Store, fingerprint, stage_key
from facap.study import drawn
from facap.triplets import pipeline as mining
from facap.triplets.config import PairsConfig
from facap.triplets.formats import reading
from facap.verify import answers
from facap.verify import pipeline as verify
from facap.verify.config import VerifyConfig
from facap.verify.origin import Origin
from tests.annotation import COLOURS, caption_row, image_row, put
from tests.unit import test_formats_pictures
from tests.unit.test_formats_pictures import folder  # noqa: F401  a fixture
from tests.unit.test_store import caption, pair
from tests.verification import drawn_pairs, fill

REFUSED = (
    r"{}: [\d,]+ rows are expected by what went in, [\d,]+ are there: not committed. Rows were lost: run"
)
NUM = 6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "workspace"))


def lost_at_the_commit(monkeypatch: pytest.MonkeyPatch, name: str) -> list[pa.Table]:
    """From here on the first part of dataset `name` is lost when it is to be committed; what was in it."""
    commit, gone = Stage.commit, []

    def after_a_loss(stage: Stage, *args: Any, **named: Any) -> Any:
        if stage.name == name:
            part = stage.parts()[0]
            gone.append(stage.read_part(part))
            Path(stage.folder, part).unlink()
        return commit(stage, *args, **named)

    monkeypatch.setattr(Stage, "commit", after_a_loss)
    return gone


def refused(monkeypatch: pytest.MonkeyPatch, store: Store, name: str, run: Callable[[], Any]) -> pa.Table:
    """`run` loses a part and is refused, whatever was finished before stays; the rows that were lost."""
    before = store.manifest(name)
    schema = {"base_embeddings": "embeddings"}.get(name, name).upper()
    with monkeypatch.context() as patch:
        gone = lost_at_the_commit(patch, name)
        with pytest.raises(ContractError, match=REFUSED.format(schema)):
            run()
    assert store.manifest(name) == before
    (table,) = gone
    assert table.num_rows
    return table


def left_by_a_killed_run(store: Store, name: str, schema: pa.Schema, key: str, rows: list[dict]) -> Stage:
    stage = store.stage(name, schema, key)
    for half in (rows[::2], rows[1::2]):
        stage.write(from_rows(half, schema))
    return stage


def test_items(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(items, "ROWS_PER_PART", 3)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        lines = [[f"p{n}", "dress", f"https://a.example/{n}.jpg"] for n in range(10)]
        csv.writer(file).writerows(
            [["product_id", "category", "url"], *lines, lines[0], ["p11", "dress", "none"]]
        )
    config = CatalogConfig(manifest=str(tmp_path / "a.csv"))
    refused(monkeypatch, store, "items", lambda: catalog.run(store, config, Progress("catalog")))
    assert catalog.run(store, config, Progress("catalog")).rows_out == 10


def test_items_that_are_lost_between_the_source_and_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.csv").write_text("product_id,category,url\n" + "p1,dress,https://a.example/1.jpg\n" * 1)
    config = CatalogConfig(manifest=str(tmp_path / "a.csv"))
    tables = items.Items.tables

    def one_short(self: items.Items, lines: Any) -> Iterator[pa.Table]:
        more = [{"product_id": "p2", "category": "dress", "url": f"https://a.example/{n}.jpg"} for n in "ab"]
        return (table.slice(1) for table in tables(self, [*lines, *more]))

    monkeypatch.setattr(items.Items, "tables", one_short)
    with pytest.raises(ContractError, match="ITEMS: 3 rows are expected by what went in, 2 are there"):
        catalog.run(store, config, Progress("catalog"))


def test_pages(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "PAGES_PER_PART", 2)
    body = b'<script type="application/ld+json">{"@type": "Product", "image": "https://a.example/1.jpg"}</script>'
    asked: list[str] = []

    def fetch(addresses: Iterable[str], max_bytes: int, what: str) -> Iterator[Fetched]:
        for address in addresses:
            asked.append(address)
            yield Fetched(address, body)

    def run() -> Any:
        listed = [f"https://a.example/{n}" for n in range(NUM)]
        config = CatalogConfig(manifest="a.xml", read_pages=True)
        return pages.read_pages(store, config, lambda: iter(listed), fetch, Progress("catalog"))

    gone = refused(monkeypatch, store, "pages", run)
    asked.clear()
    assert run().rows == NUM
    assert sorted(asked) == sorted(gone["page"].to_pylist())  # only what is missing


def test_images_of_the_crawl(store: Store, monkeypatch: pytest.MonkeyPatch):
    wanted = ("item_id", "product_id", "category", "url")
    rows = [image_row(n, phash=hashlib.sha512(bytes([n])).hexdigest()) for n in range(NUM)]
    put(store, "items", ITEMS, [{name: row[name] for name in wanted} | {"source": "s"} for row in rows])
    config = CrawlConfig(contact="bot@shop.example")
    key = crawl_key(config.for_key(), {"items": store.fingerprint("items")})
    stage = left_by_a_killed_run(store, "images", IMAGES, key, rows)
    gone = refused(monkeypatch, store, "images", lambda: crawl.run(store, config, Progress("crawl")))
    stage.write(gone)
    assert crawl.run(store, config, Progress("crawl")).rows_in == NUM


@pytest.mark.parametrize("name", ["images", "galleries", "triplets"])
def test_an_import(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 2)
    store = Store(str(folder / "workspace"))
    refused(monkeypatch, store, name, lambda: test_formats_pictures.bring(store, folder))
    test_formats_pictures.bring(store, folder)
    assert store.require(name).rows == {"images": 8, "galleries": 8, "triplets": 3}[name]


def test_captions(store: Store, monkeypatch: pytest.MonkeyPatch):
    put(store, "images", IMAGES, [image_row(n) for n in range(NUM)])
    config = CaptionConfig()
    key = caption_pipeline.key(config, store.fingerprint("images"))
    rows = [caption_row(n, "a red dress") for n in range(NUM)]
    stage = left_by_a_killed_run(store, "captions", CAPTIONS, key, rows)
    gone = refused(
        monkeypatch, store, "captions", lambda: caption_pipeline.run(store, config, Progress("caption"))
    )
    stage.write(gone)
    assert caption_pipeline.run(store, config, Progress("caption")).rows_out == NUM


@pytest.mark.parametrize("both_directions", [False, True])
def test_triplets(store: Store, both_directions: bool, monkeypatch: pytest.MonkeyPatch):
    pairs = [pair(f"{n:032x}", f"{n + 1:032x}") for n in range(NUM)]
    put(store, "pairs", PAIRS, pairs)
    put(store, "captions", CAPTIONS, [caption_row(n, f"a dress, {n}") for n in range(NUM + 1)])
    config = ModifyConfig(both_directions=both_directions, max_same_text=0)
    inputs = {name: store.fingerprint(name) for name in ("pairs", "captions")}
    wanted = pairs + (modify_pipeline.turned(pairs) if both_directions else [])
    made = dict.fromkeys(("model", "prompt_hash", "params_hash"), "x")
    rows = [
        {name: one[name] for name in ("reference_id", "target_id", "category", "split")}
        | {"modification": "in red", "status": "ok", **made}
        for one in wanted
    ]
    stage = left_by_a_killed_run(store, "triplets", TRIPLETS, modify_pipeline.key(config, **inputs), rows)
    gone = refused(
        monkeypatch, store, "triplets", lambda: modify_pipeline.run(store, config, Progress("modify"))
    )
    stage.write(gone)
    assert modify_pipeline.run(store, config, Progress("modify")).rows_in == len(wanted)


class NoRows:
    """A Ray dataset without rows."""

    def map_batches(self, *_: Any, **__: Any) -> "NoRows":
        return self


def test_answers_of_which_none_can_be_about_pictures_that_are_not_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    put(store, "images", IMAGES, [image_row(n) for n in range(NUM)])
    config = VerifyConfig(ask="attribute")
    ids = [f"{n:032x}" for n in range(NUM)]
    needed = {image: {"colour", "sleeve"} for image in ids}
    asked = {**needed, "gone": {"colour"}}
    questions = sorted((image, name) for image in asked for name in asked[image])
    inputs = {"images": store.fingerprint("images"), "questions": fingerprint(questions)}
    made = Origin(config).of("dress") | {"status": "ok", "answer": "red"}
    rows = [made | {"image_id": image, "attribute": name} for image in ids for name in needed[image]]
    stage = left_by_a_killed_run(store, "answers", ANSWERS, answers.key(config, inputs), rows)

    # Of "gone" there is nothing to ask, its picture is not in IMAGES; no engine is needed to find that out.
    monkeypatch.setattr(answers, "write_rows", lambda *_: None)
    monkeypatch.setattr(answers, "read_parts", lambda *_: NoRows())
    monkeypatch.setattr(answers.engine, "generate", lambda *_, **__: NoRows())

    def run() -> Any:
        return answers.collect(store, config, asked, Progress("verify"))

    gone = refused(monkeypatch, store, "answers", run)
    stage.write(gone)
    assert run() == {image: {"colour": "red", "sleeve": "red"} for image in ids}


def test_verdicts(store: Store, monkeypatch: pytest.MonkeyPatch):
    config = VerifyConfig(ranks=False)
    pairs = drawn_pairs()[:NUM]
    fill(store, pairs, [one.text for one in pairs], None)
    triplets = verify.good_triplets(store)
    judged = {"faithfulness": 1.0, "claims": 1, "failed": 0, "unsupported": [], "unspoken": []}
    rows = [
        {name: row[name] for name in key_columns(VERDICTS)} | judged | Origin(config).of("dress")
        | {"status": "ok"}
        for row in triplets.to_pylist()
    ]  # fmt: skip
    key = verify.key(config, verify._inputs(store, config, None))
    monkeypatch.setattr(answers, "collect", lambda *_: {})  # all are judged already
    stage = left_by_a_killed_run(store, "verdicts", VERDICTS, key, rows)
    gone = refused(monkeypatch, store, "verdicts", lambda: verify.run(store, config, Progress("verify")))
    stage.write(gone)
    assert verify.run(store, config, Progress("verify")).rows_out == triplets.num_rows


def vector_rows(numbers: Iterable[int], label: str) -> list[dict]:
    ids = ("image_id", "item_id", "product_id", "category")
    vectors = np.eye(NUM, dtype=np.float32)
    return [
        {name: image_row(n)[name] for name in ids} | {"vector": vectors[n].tolist(), "model_version": label}
        for n in numbers
    ]


def embeddings_left(store: Store, name: str, label: str, numbers: Iterable[int]) -> Stage:
    inputs = {"images": store.fingerprint("images"), "model": label}
    key = stage_key("embed", embed.VERSION, None, inputs)
    return left_by_a_killed_run(store, name, EMBEDDINGS, key, vector_rows(numbers, label))


def test_embeddings(store: Store, monkeypatch: pytest.MonkeyPatch):
    put(store, "images", IMAGES, [image_row(n) for n in range(NUM)])
    model = embed.Model("m@1", lambda: pytest.fail("no model is needed"))
    stage = embeddings_left(store, "embeddings", "m@1", range(NUM))

    def run() -> Any:
        return embed.embed(store, embed.TRAINED, model, embed.Workers(), Progress("index"))

    gone = refused(monkeypatch, store, "embeddings", run)
    stage.write(gone)
    assert run().rows == NUM


@pytest.mark.parametrize("broken", [[], [1], [1, 4]])
def test_only_a_picture_that_cannot_be_decoded_may_have_no_vector(
    store: Store, broken: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Its row is not made; one of a picture that can be decoded was lost, and was counted as such before."""
    junk = b"\xff\xd8 not a picture"
    put(
        store,
        "images",
        IMAGES,
        [image_row(n, **({"bytes": junk} if n in broken else {})) for n in range(NUM)],
    )
    model = embed.Model("m@1", lambda: pytest.fail("no model is needed"))
    monkeypatch.setattr(embed, "_embed", lambda *_: None)  # what it writes is lost
    there = [n for n in range(NUM) if n not in broken]
    stage = embeddings_left(store, "embeddings", "m@1", there[:-1])

    def run() -> Any:
        return embed.embed(store, embed.TRAINED, model, embed.Workers(), Progress("index"))

    with pytest.raises(ContractError, match=REFUSED.format("EMBEDDINGS")):
        run()
    stage.write(from_rows(vector_rows(there[-1:], "m@1"), EMBEDDINGS))
    manifest = run()
    assert (manifest.rows, manifest.extra[embed.UNDECODABLE]) == (len(there), len(broken))


def test_pairs(store: Store, monkeypatch: pytest.MonkeyPatch):
    products = [name for name in (f"p{n}" for n in range(99)) if split_of(name) == "train"]
    put(store, "images", IMAGES, [image_row(n, product_id=products[n]) for n in range(NUM)])
    told = [{"product_id": products[n], "attributes": {"colour": COLOURS[n]}} for n in range(NUM)]
    put(store, "captions", CAPTIONS, [caption_row(n, "a dress") | told[n] for n in range(NUM)])
    config = PairsConfig(
        min_similarity=-1, max_similarity=1, max_changes=99, max_target_uses=99, max_failure_rate=0.9
    )
    label = checkpoints.label(config.base)
    embeddings_left(store, "base_embeddings", label, range(NUM)).commit({}, {}, expected=NUM)

    def run() -> Any:
        return mining.run(store, config, Progress("pairs"))

    report = run()
    made = store.require("pairs")
    rows = store.read("pairs")
    assert report.rows_in == NUM == report.rows_out + report.failed and rows.num_rows > 2
    Path(store.path("pairs", "manifest.json")).unlink()  # killed before the commit, with one row written
    stage = store.stage("pairs", PAIRS, made.key)
    stage.replace(stage.parts()[0], rows.slice(0, 1))
    refused(monkeypatch, store, "pairs", run)
    assert run().rows_out == rows.num_rows


def test_drawn_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = Stage.write

    def one_short(stage: Stage, table: pa.Table) -> Any:
        return write(stage, table.slice(1))

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "write", one_short)
        with pytest.raises(ContractError, match="IMAGES: 12 rows are expected by what went in, 11 are there"):
            drawn.make(str(tmp_path / "w"), families=2, seed=1)
    assert drawn.make(str(tmp_path / "w"), families=2, seed=1).require("images").rows == 12


ROWS = st.lists(st.integers(0, 40), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(wanted=ROWS, blocks=st.lists(ROWS, max_size=6), failed=st.sets(st.integers(0, 40)))
def test_whatever_blocks_arrive_a_version_is_committed_when_all_of_its_rows_are_there(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[int], blocks: list[list[int]], failed: set[int]
):
    """In any order, again and again, split anyhow: repeats make up for none that is missing."""
    store, ids = Store(str(tmp_path_factory.mktemp("w"))), set(wanted)
    stage = store.stage("captions", CAPTIONS, "0123456789ab")
    there: set[int] = set()
    for block in blocks:
        rows = [caption(f"i{n}", "empty" if n in failed else "ok") for n in block if n in ids]
        if rows:
            stage.write(from_rows(rows, CAPTIONS))
        there |= set(block) & ids
    if there != ids:
        with pytest.raises(ContractError, match=r"CAPTIONS: (\d+ rows are expected|refusing to commit)"):
            stage.commit({}, {}, expected=len(ids))
        assert store.manifest("captions") is None
        stage.write(from_rows([caption(f"i{n}") for n in ids - there], CAPTIONS))
    assert stage.commit({}, {}, expected=len(ids)).rows == len(ids)
    found = store.read("captions", ["image_id"]).column(0).to_pylist()
    assert sorted(found) == sorted(f"i{n}" for n in ids)


def test_rows_that_nobody_asked_for_are_refused_too(store: Store):
    stage = store.stage("pairs", PAIRS, "0123456789ab")
    stage.write(from_rows([pair("a"), pair("b")], PAIRS))
    with pytest.raises(
        ContractError, match=r"1 rows are expected .* 2 are there: .* Remove .*data-0123456789ab"
    ):
        stage.commit({}, {}, expected=1)
    assert store.manifest("pairs") is None
