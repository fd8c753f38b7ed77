"""What the settings of pairing keep, counted by hand; the page shows it and trusts no caption."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facap import reports
from facap.schemas import CAPTIONS, IMAGES, PAIRS, from_rows
from facap.store import Store
from facap.triplets import charts, report
from facap.triplets.config import PairsConfig
from facap.triplets.pairing import Member, mine_groups, mine_pairs
from facap.triplets.pipeline import FIGURES
from facap.triplets.survey import ALL, MOST_BARS, Survey

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def unit(*degrees: float) -> np.ndarray:
    return np.stack([[np.cos(a), np.sin(a)] for a in np.radians(degrees)]).astype(np.float32)


def member(image_id: str, product_id: str = "", category: str = "top", **attributes: str) -> Member:
    return Member(image_id, product_id or "p-" + image_id, category, "train", attributes)


def surveyed(members: list[Member], vectors: np.ndarray, **settings) -> dict:
    survey = Survey(PairsConfig(**settings))
    for group in mine_groups(members, vectors, survey.config):
        survey.add(group)
    return survey.figures()


# Cosines: a-b 0.996, a-c 0.866, b-c 0.906, those with d below 0.2; v and w are views of one product.
MEMBERS = [
    member("a", colour="red"),
    member("b", colour="blue"),
    member("c", colour="green", fit="loose"),
    member("d", colour="red", fit="slim"),
    member("v", "p", "dress", colour="red"),
    member("w", "p", "dress", colour="blue"),
]
VECTORS = unit(0, 5, 30, 110, 0, 20)
BAND = {"min_similarity": 0.5, "max_similarity": 0.99, "max_changes": 2}


def test_the_funnel_and_the_neighbours_by_hand() -> None:
    figures = surveyed(MEMBERS, VECTORS, **BAND)
    top, dress, both = (figures["groups"][name] for name in ("top", "dress", ALL))
    steps = dict.fromkeys(("images", "captioned", "certain", "vector", "neighbour"), 4)
    steps |= dict.fromkeys(("band", "range", "paired"), 3)
    assert top["funnel"] == steps
    assert dress["funnel"] == {
        **dict.fromkeys(steps, 0),
        "images": 2,
        "captioned": 2,
        "certain": 2,
        "vector": 2,
    }
    assert both["funnel"]["images"] == 6 and both["funnel"]["paired"] == 3
    assert top["neighbours"] == {"neighbour": 12, "band": 4, "range": 4}
    assert top["changes"] == [0, 0, 4] and top["if_changes"] == [0, 0, 3]
    kinds = top["similarity"]
    assert [sum(kinds[kind]) for kind in ("outside", "band", "fits", "pairs")] == [8, 0, 4, 3]
    assert top["uses"] == [2, 1, 1]  # a and b go to c, c to a or b, nobody to d
    assert top["if_cap"] == {"1": 2, "2": 3, "3": 3, "5": 3, "10": 3, "none": 3}
    above = figures["outside"]["above"]
    assert [(pair["reference_id"], pair["target_id"]) for pair in above] == [("a", "b"), ("b", "a")]
    assert [pair["similarity"] for pair in above] == pytest.approx([0.9962, 0.9962])
    assert {pair["reference_id"] for pair in figures["outside"]["below"]} == {"a", "b", "c", "d"}


def test_moving_an_edge_keeps_as_many_as_mining_with_it_would() -> None:
    rng = np.random.default_rng(0)
    members = [
        member(f"i{n:03}", colour=str(rng.integers(5)), fit=str(rng.integers(3)), length=str(rng.integers(3)))
        for n in range(120)
    ]
    vectors = rng.normal(size=(120, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings = {"min_similarity": 0.4, "max_similarity": 0.9, "min_changes": 1, "max_changes": 2, "pool": 30}
    figures = surveyed(members, vectors, **settings)
    total = figures["groups"][ALL]
    assert total["if_cap"]["3"] == total["funnel"]["paired"]
    assert len(figures["edges"]) - 1 <= MOST_BARS
    for kind in ("outside", "band", "fits", "pairs"):
        assert len(total["similarity"][kind]) == len(figures["edges"]) - 1

    def choices(**changes: float) -> int:
        return len(mine_pairs(members, vectors, PairsConfig(**settings | changes, max_target_uses=999)))

    for place in range(0, len(figures["edges"]), 9):
        edge = figures["edges"][place]
        assert total["if_least"][place] == (choices(min_similarity=edge) if edge <= 0.9 else 0)
        assert total["if_greatest"][place] == (choices(max_similarity=edge) if edge >= 0.4 else 0)
    for number in (1, 2, 3):
        assert total["if_changes"][number] == choices(max_changes=number)
    for cap in (1, 2, 5):
        pairs = mine_pairs(members, vectors, PairsConfig(**settings, max_target_uses=cap))
        assert total["if_cap"][str(cap)] == len(pairs)


def test_a_cosine_that_rounding_lifts_above_one_is_one() -> None:
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.normal(size=(20, 300)).astype(np.float32), 2, axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    members = [member(f"{n:02}", colour=str(n)) for n in range(40)]
    config = PairsConfig(min_similarity=0.999, max_similarity=1, max_target_uses=1)
    pairs = mine_pairs(members, vectors, config)
    assert len(pairs) == 40 and max(pair.similarity for pair in pairs) <= 1


def test_a_vector_that_is_not_a_number_is_nobodys_neighbour() -> None:
    vectors = np.concatenate([unit(0, 20), np.full((1, 2), np.nan, np.float32)])
    members = [member("a", colour="red"), member("b", colour="blue"), member("c", colour="green")]
    pairs = mine_pairs(members, vectors, PairsConfig(min_similarity=-1, max_similarity=1))
    assert {(pair.reference_id, pair.target_id) for pair in pairs} == {("a", "b"), ("b", "a")}


def test_images_lost_before_mining_count_in_their_category() -> None:
    survey = Survey(PairsConfig())
    survey.lost("top", "images")
    survey.lost("dress", "captioned", 2)
    for confidence in (0.6, 0.95, None):
        survey.stated("dress", confidence)
    figures = survey.figures()
    assert figures["groups"]["top"]["funnel"]["images"] == 1
    assert figures["groups"]["dress"]["funnel"] == {
        "images": 2, "captioned": 2, "certain": 0, "vector": 0, "neighbour": 0, "band": 0, "range": 0,
        "paired": 0,
    }  # fmt: skip
    sure = {"0": 3, "0.5": 3, "0.7": 2, "0.8": 2, "0.9": 2, "0.95": 2, "0.98": 1}
    assert figures["groups"]["dress"]["if_sure"] == sure == figures["groups"]["all"]["if_sure"]


def test_columns_mark_what_is_kept_and_labels_are_escaped() -> None:
    drawn = charts.columns([5, 0, 3], ["0", "<b>", "2"], "images", kept=(1, 9))
    assert drawn.count('class="fit"') == 2 and drawn.count('class="out"') == 1
    assert "<b>" not in drawn and "&lt;b&gt;" in drawn
    assert 'class="kept"' not in charts.columns([1], ["0"], "images", kept=(0, -1))


def jpeg(seed: int) -> bytes:
    blobs = np.random.default_rng(seed).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blobs).resize((240, 300), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """PAIRS of twelve tops with their pictures and captions that are not to be trusted."""
    store = Store(str(tmp_path))
    ids = [f"i{n:02}" for n in range(12)]
    members = [member(i, colour=f"c{n}", **{HOSTILE: HOSTILE + str(n)}) for n, i in enumerate(ids)]
    now = datetime.now(UTC)
    common = [
        {"item_id": i, "image_id": i, "product_id": "p" + i, "category": "top", "status": "ok"} for i in ids
    ]
    images = [row | {"url": "u", "bytes": jpeg(n), "fetched_at": now} for n, row in enumerate(common)]
    made_by = {"model": "m", "prompt_hash": "p", "params_hash": "p"}
    captions = [row | made_by | {"attributes": m.attributes} for row, m in zip(common, members, strict=True)]
    config = PairsConfig(min_similarity=0.9, max_similarity=0.999)
    survey, pairs = Survey(config), []
    for group in mine_groups(members, unit(*range(0, 60, 5)), config):
        survey.add(group)
        pairs += [vars(pair) for pair in group.pairs]
    for name, schema, rows in (
        ("images", IMAGES, images),
        ("captions", CAPTIONS, captions),
        ("pairs", PAIRS, pairs),
    ):
        stage = store.stage(name, schema, "k")
        stage.write(from_rows(rows, schema))
        if name == "pairs":
            reports.write_text(f"{stage.folder}/{FIGURES}", json.dumps(survey.figures()))
        stage.commit(config.model_dump(mode="json"), {}, extra={"splits": {"train": 12}, "failures": {}})
    return store


def test_the_report_is_made_once_a_version_and_is_an_mlflow_run(store: Store) -> None:
    from mlflow import MlflowClient

    figures = report.publish(store, "")
    assert figures is not None and figures["groups"][ALL]["funnel"]["paired"] == 12
    written = Path(reports.address(store, "pairs"))
    page, moment = written.read_text(), written.stat().st_mtime_ns
    assert report.publish(store, "") == figures and written.stat().st_mtime_ns == moment
    client = MlflowClient(f"sqlite:///{store.path('mlflow.db')}")
    (run,) = client.search_runs([client.get_experiment_by_name("facap").experiment_id])  # type: ignore[union-attr]
    assert run.info.run_name == "pairs" and run.data.metrics["funnel/paired"] == 12
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"pairs.html", "pairs.json"}
    assert "<script" not in page and "&lt;img src=x onerror" in page and "default-src 'none'" in page
    assert not re.search(r"<img (?!src=\"data:image/jpeg;base64,)", page)
    assert "http" not in re.sub(r"http-equiv", "", page)  # no link, no address
    assert "least 0.9" in page and "greatest 0.999" in page
    assert page.count('alt="reference"') == page.count('alt="target"') >= 3 * report.SHOWN
    assert len(page) < 1_000_000


def test_pairs_without_figures_have_no_report(store: Store) -> None:
    Path(f"{store.folder('pairs')}/{FIGURES}").unlink()
    assert report.publish(store, "") is None
    assert not Path(reports.address(store, "pairs")).exists()


def test_examples_are_the_ends_and_the_middle_of_each_category() -> None:
    pairs = [
        {"reference_id": f"r{n}", "category": ("top", "dress")[n % 2], "similarity": n / 100}
        for n in range(100)
    ]
    kinds = report.examples(pairs, {"below": [], "above": []})
    shown = [[pair["similarity"] for pair in some] for _, _, some in kinds]
    assert shown[0] == shown[4] == []
    assert shown[1] == [0, 0.01, 0.02, 0.03] and shown[3] == [0.99, 0.98, 0.97, 0.96]
    assert all(abs(similarity - 0.495) < 0.03 for similarity in shown[2])
