"""Pair mining and evaluation on real Ray with rendered garments and the tiny retrieval checkpoint."""

import io
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from facap.catalog.drawing import render, sample_view
from facap.catalog.garments import sample_garment, sample_variant
from facap.errors import ContractError, ModelMissing, StageFailed
from facap.evaluate import pipeline as evaluation
from facap.evaluate.compare import SHOWN, Compared, compare, difference_table
from facap.evaluate.config import EvaluateConfig
from facap.evaluate.metrics import metric_names
from facap.evaluate.report import retrieval_tables
from facap.progress import Progress
from facap.schemas import CAPTIONS, IMAGES, METRICS, PAIRS, RANKS, TRIPLETS, conform, from_rows
from facap.splits import split_of
from facap.store import Stage, Store
from facap.tracking import open_client
from facap.triplets import pipeline as mining
from facap.triplets.config import PairsConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
NUM_PRODUCTS = 30  # of two views each
PAIRS_CONFIG = PairsConfig(
    min_similarity=-1, max_similarity=1, max_changes=6, num_workers=1, min_confidence=0.9
)


def jpeg(pixels) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def product_ids() -> list[str]:
    """Half of them of the test split, so that few pictures make a gallery."""
    test = [f"p{i}" for i in range(500) if split_of(f"p{i}") == "test"]
    train = [f"p{i}" for i in range(500) if split_of(f"p{i}") == "train"]
    return [*test[: NUM_PRODUCTS // 2], *train[: NUM_PRODUCTS // 2]]


def rows_of_catalogue() -> tuple[list[dict], list[dict]]:
    """IMAGES and CAPTIONS rows: families of variants in two categories, and some failures."""
    rng = random.Random(0)
    images, captions = [], []
    for number, product_id in enumerate(product_ids()):
        if number % 5 == 0:
            family = sample_garment(rng, ("dress", "top")[number // 5 % 2])
        garment = family if number % 5 == 0 else sample_variant(rng, family)
        for view in range(2):
            image_id = f"{product_id}-{view}"
            common = {"product_id": product_id, "category": garment.category, "status": "ok"}
            common |= {"image_id": image_id, "item_id": "item-" + image_id}
            pixels = render(garment, sample_view(rng), width=128)
            fetched = {"url": "http://shop", "bytes": jpeg(pixels), "fetched_at": datetime.now(UTC)}
            images.append(common | fetched)
            models = {"caption": "-", "model": "m", "prompt_hash": "p", "params_hash": "p"}
            sure = 0.95 if number % 7 else None  # as of a server that does not tell
            captions.append(common | models | {"attributes": garment.attributes(), "confidence": sure})
    images.append(images[0] | {"item_id": "copy", "duplicate_of": images[0]["item_id"]})
    images.append(images[0] | {"item_id": "dead", "image_id": None, "bytes": None, "status": "http_404"})
    captions[1] |= {"status": "no_answer", "attributes": None}
    captions[5] |= {"confidence": 0.5}
    return images, captions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("workspace")))
    images, captions = rows_of_catalogue()
    for name, schema, rows in (("images", IMAGES, images), ("captions", CAPTIONS, captions)):
        stage = store.stage(name, schema, "k")
        for start in range(0, len(rows), 25):  # several parts
            stage.write(from_rows(rows[start : start + 25], schema))
        stage.commit(config={}, inputs={})
    return store


@pytest.fixture(scope="module")
def pairs(store: Store) -> list[dict]:
    report = mining.run(store, PAIRS_CONFIG, Progress("pairs"))
    assert report.rows_in == 2 * NUM_PRODUCTS and report.rows_in == report.rows_out + report.failed
    assert report.failures["no_caption"] == report.failures["uncertain"] == 1
    return conform(store.read("pairs"), PAIRS).to_pylist()


def test_every_captioned_image_is_a_reference_once_or_counted(store: Store, pairs: list[dict]) -> None:
    failures = store.require("pairs").extra["failures"]
    references = [pair["reference_id"] for pair in pairs]
    assert len(set(references)) == len(references) == 2 * NUM_PRODUCTS - sum(failures.values())
    assert max(Counter(pair["target_id"] for pair in pairs).values()) <= PAIRS_CONFIG.max_target_uses
    for pair in pairs:
        products = [pair[side].partition("-")[0] for side in ("reference_id", "target_id")]
        assert products[0] != products[1]
        assert {split_of(product) for product in products} == {pair["split"]}
    assert {pair["split"] for pair in pairs} == {"train", "test"}


def test_mining_again_reuses_and_a_killed_run_adds_only_what_is_missing(
    store: Store, pairs: list[dict]
) -> None:
    assert mining.run(store, PAIRS_CONFIG, Progress("pairs")).reused
    manifest = store.require("pairs")
    Path(store.path("pairs", "manifest.json")).unlink()  # killed before the commit, a part half there
    stage = store.stage("pairs", PAIRS, manifest.key)
    stage.replace(stage.parts()[0], from_rows(pairs[:7], PAIRS))
    assert not mining.run(store, PAIRS_CONFIG.model_copy(update={"batch_size": 16}), Progress("pairs")).reused
    again = store.read("pairs").sort_by("reference_id").to_pylist()
    assert [(p["reference_id"], p["target_id"]) for p in again] == [
        (p["reference_id"], p["target_id"]) for p in pairs
    ]


def test_only_the_shipped_captioner_is_held_to_its_confidence() -> None:
    models = {
        name: pa.table({"model": [f"{name}@1", "facap/tiny-captioner@1"]}) for name in ("facap/own", "vlm")
    }
    assert mining.least_confidence(PairsConfig(), models["facap/own"]) == 0.9
    assert mining.least_confidence(PairsConfig(), models["vlm"]) == 0
    assert mining.least_confidence(PairsConfig(min_confidence=0.5), models["vlm"]) == 0.5


def test_too_many_images_without_a_pair_stop_the_stage(
    store: Store, pairs: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros((0, 128), np.float32)
    monkeypatch.setattr(mining, "read_vectors", lambda *_: ([], nothing))  # as if all were damaged
    strict = PAIRS_CONFIG.model_copy(update={"max_similarity": 0.9})
    with pytest.raises(StageFailed, match="58 no_vector"):
        mining.run(store, strict, Progress("pairs"))
    assert store.require("pairs").rows == len(pairs)


def write_triplets(store: Store, pairs: list[dict]) -> None:
    constant = {"quality": 1.0, "model": "m", "prompt_hash": "p", "params_hash": "p"}
    rows = []
    for number, pair in enumerate(pairs):
        row = {k: v for k, v in pair.items() if k != "similarity"} | constant
        failed = {"status": "no_answer", "modification": None} if number == 0 else {"status": "ok"}
        rows.append(row | {"modification": "make it red"} | failed)
    stage = store.stage("triplets", TRIPLETS, "k")
    stage.write(from_rows(rows, TRIPLETS))
    stage.commit(config={}, inputs={})


def write_model(store: Store) -> None:
    from facap.model.config import FashionBlip2Config
    from facap.model.fashionblip2 import FashionBlip2
    from facap.model.preprocess import MAX_TEXT_TOKENS
    from facap.model.saved import save_pretrained
    from facap.model.text import Tokens

    config = FashionBlip2Config()
    stage = store.stage("model", None, "k")
    tokens = Tokens.load(config.base, MAX_TEXT_TOKENS)
    stage.commit({}, {}, files=save_pretrained(FashionBlip2.from_base(config), tokens, stage.folder))


def test_evaluation_scores_model_and_baselines(store: Store, pairs: list[dict]) -> None:
    write_triplets(store, pairs)
    write_model(store)
    config = EvaluateConfig(bootstrap_samples=200, num_workers=1, whole_catalogue=False)
    report = evaluation.run(store, config, Progress("evaluate"))
    queries = sum(
        row["split"] == "test" and row["status"] == "ok" for row in store.read("triplets").to_pylist()
    )
    assert report.rows_in == queries > 10
    assert evaluation.run(store, config, Progress("evaluate")).reused

    metrics = conform(store.read("metrics"), METRICS)
    rows = {
        (r["model_version"].partition("@")[0], r["category"], r["metric"]): r for r in metrics.to_pylist()
    }
    names = ["fashionblip2", "baseline/image_only", "baseline/text_only", "baseline/sum"]
    assert len(rows) == metrics.num_rows == len(names) * 3 * len(metric_names())
    assert {row["model_version"] for row in rows.values()} >= {f"fashionblip2@{store.fingerprint('model')}"}
    for row in rows.values():
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    by_category = Counter({c: rows["fashionblip2", c, "recall@1"]["num_queries"] for c in ("dress", "top")})
    assert by_category.total() == queries == rows["fashionblip2", "all", "recall@1"]["num_queries"]
    # 15 test products of two views, in two categories, the reference left out of each gallery
    sizes = [rows["fashionblip2", c, "recall@1"]["gallery_size"] for c in ("dress", "top")]
    assert sum(sizes) == NUM_PRODUCTS - 2
    for name in names:
        strict, loose = (rows[name, "all", f"recall{kind}@5"]["value"] for kind in ("", "_product"))
        assert strict <= loose

    table = retrieval_tables(metrics)
    assert [line for line in table.splitlines() if line.startswith("fashionblip2")]
    client = open_client(store, "")
    experiment = client.get_experiment_by_name("facap")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "evaluate"
    assert run.data.metrics["recall_at_10"] == rows["fashionblip2", "all", "recall@10"]["value"]
    assert "baseline/sum/top/recall_product_at_10" in run.data.metrics


@pytest.mark.parametrize(("schema", "name"), [(RANKS, "ranks"), (METRICS, "metrics")])
def test_an_evaluation_that_loses_rows_is_not_committed(
    store: Store, schema: pa.Schema, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, before = Stage.write, store.require(name)

    def one_short(stage: Stage, table: pa.Table) -> Counter:
        return write(stage, table.slice(1) if stage.schema is schema else table)

    monkeypatch.setattr(Stage, "write", one_short)
    again = EvaluateConfig(bootstrap_samples=100, num_workers=1, whole_catalogue=False, seed=len(name))
    with pytest.raises(ContractError, match=f"{name.upper()}: .* rows are expected .* Rows were lost"):
        evaluation.run(store, again, Progress("evaluate"))
    assert store.require(name) == before


def test_two_models_are_compared_query_by_query(store: Store, pairs: list[dict], tmp_path: Path) -> None:
    """The model against one whose matching is noise, by name and by folder; with itself, there is nothing."""
    import torch

    from facap.model.config import FashionBlip2Config
    from facap.model.fashionblip2 import FashionBlip2
    from facap.model.saved import save_pretrained
    from facap.model.text import Tokens

    write_triplets(store, pairs)
    write_model(store)
    config = FashionBlip2Config(matching="mean")
    torch.manual_seed(1)
    save_pretrained(FashionBlip2.from_base(config), Tokens.load(config.base, 64), str(tmp_path / "mean"))
    asked = EvaluateConfig(bootstrap_samples=200, num_workers=1, whole_catalogue=False)
    first, second = Compared("ours", store.folder("model")), Compared("theirs", str(tmp_path / "mean"))
    figures = compare(store, (first, second), asked, Progress("compare"))

    values = {
        (row["model_version"], row["metric"]): row["value"]
        for row in figures["metrics"]
        if row["category"] == "all"
    }
    assert {version.partition("@")[0] for version, _ in values} == {"ours", "theirs"}
    assert [row["metric"] for row in figures["differences"]] == list(SHOWN)
    for row in figures["differences"]:
        ours, theirs = (values[version, row["metric"]] for version in (figures["model"], figures["rival"]))
        assert row["value"] == pytest.approx(ours - theirs)
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        beyond = {"first": row["ci_low"] > 0, "second": row["ci_high"] < 0}
        assert beyond.get(row["better"], not any(beyond.values()))
    page = Path(store.path("reports", "comparison.html")).read_text()
    assert "ours less theirs" in page and "Where ours and theirs differ most" in page
    assert len(difference_table(figures).splitlines()) == 1 + len(figures["differences"])
    embedded = Path(store.folder(f"embeddings-{first.version().partition('@')[2]}"))
    before = embedded.stat().st_mtime_ns
    again = compare(store, (first, Compared("itself", first.folder)), asked, Progress("compare"))
    assert embedded.stat().st_mtime_ns == before  # pictures are embedded once
    assert {(row["value"], row["better"]) for row in again["differences"]} == {(0, "neither")}
    with pytest.raises(ModelMissing, match="should hold a model"):
        compare(store, (first, Compared("none", str(tmp_path))), asked, Progress("compare"))


def test_actor_rows_are_the_vectors_of_the_encoders(store: Store, pairs: list[dict]) -> None:
    from facap.evaluate.embed import EmbedQueries
    from facap.model.baselines import MODES, Baseline, compose
    from facap.model.embed import EmbedPictures, base_model
    from facap.model.encoder import Encoder
    from facap.model.preprocess import decode

    base = "facap/tiny-retrieval"
    write_model(store)
    ids = sorted(pair["reference_id"] for pair in pairs)[:3]  # some rows of the fixture do not decode
    images = store.read("images")
    images = images.filter(pc.is_in(images.column("image_id"), pa.array(ids)))
    pictures = {row["image_id"]: decode(row["bytes"]) for row in images.to_pylist()}
    asked = {ids[0]: [(5, "make it blue")], ids[2]: [(6, "make it red"), (7, "give it a belt")]}
    found = EmbedQueries(store.folder("model"), base, asked, batch_size=2)(images)
    rows = {row["query"]: row for row in found.to_pylist()}
    assert sorted(rows) == [5, 6, 7]
    gallery = {
        row["image_id"]: row["vector"] for row in EmbedPictures(base_model(base), 1, 2)(images).to_pylist()
    }
    assert sorted(gallery) == sorted(set(images.column("image_id").to_pylist()))
    encoder = Encoder.load(store.folder("model"))
    for image_id, texts in asked.items():
        for number, text in texts:
            both = encoder.queries([pictures[image_id]], [text])
            np.testing.assert_allclose(rows[number]["both"], both[0], atol=1e-4)
            parts = (np.array([gallery[image_id]]), np.array([rows[number]["text"]]))
            for mode in MODES:
                expected = Baseline.load(base, mode).queries([pictures[image_id]], [text])
                np.testing.assert_allclose(compose(mode, *parts), expected, atol=1e-4)


def test_no_test_query_is_a_clear_error(store: Store, pairs: list[dict]) -> None:
    other = Store(store.path("other"))
    for name, schema in (("images", IMAGES), ("triplets", TRIPLETS)):
        stage = other.stage(name, schema, "k")
        table = store.read(name)
        if name == "triplets":
            table = from_rows([row | {"split": "train"} for row in table.to_pylist()], TRIPLETS)
        stage.write(table)
        stage.commit({}, {})
    write_model(other)
    with pytest.raises(StageFailed, match="no test row"):
        evaluation.run(other, EvaluateConfig(), Progress("evaluate"))
    assert other.manifest("metrics") is None
