"""The spot check: what is drawn, what of a marks file is believed, and agreement by hand."""

import html
import io
import json
import math
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facap.errors import ConfigError, ContractError, StageFailed
from facap.review import agreement, page, scoring
from facap.review.config import ReviewConfig
from facap.review.marks import MAX_BYTES, MAX_MARKS, MarksFile, parse_marks, read_marks
from facap.review.sample import Triplet, bucket_of, draw, lower_edges, usable
from facap.schemas import IMAGES, TRIPLETS, from_rows
from facap.store import Store
from jobs.job_runner import run_tool
from jobs.review_triplets import review_triplets
from jobs.score_review import score_review

HOSTILE = "</blockquote><script>alert('x')</script>\"><img src=x onerror=alert(1)>"
TIME = "2026-11-25T10:00:00.000Z"


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 80), "navy").save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Forty good triplets of two categories, a text that is hostile, a failed row, a row without a score."""
    store = Store(str(tmp_path / "w"))
    made_by = {"split": "train", "model": "m", "prompt_hash": "p", "params_hash": "p"}
    rows = []
    for n in range(40):
        row = {"reference_id": f"r{n:02}", "target_id": f"t{n:02}", "category": ("top", "dress")[n % 2]}
        text = HOSTILE if n == 3 else f"make it number {n}"
        rows.append(row | made_by | {"modification": text, "quality": (n % 4 + 1) / 4, "status": "ok"})
    rows.append(rows[0] | {"reference_id": "rx", "modification": None, "quality": None, "status": "empty"})
    rows.append(rows[0] | {"reference_id": "ry", "quality": None})
    rows.append(rows[0] | {"modification": "zz, another text of the same pair", "split": "val"})
    ids = [row[side] for row in rows for side in ("reference_id", "target_id")]
    fetched = {
        "product_id": "p",
        "category": "top",
        "url": "u",
        "status": "ok",
        "fetched_at": datetime.now(UTC),
    }
    images = [
        fetched | {"item_id": i, "image_id": i, "bytes": jpeg()} for i in dict.fromkeys(ids) if i != "t05"
    ]
    for name, schema, some in (("images", IMAGES, images), ("triplets", TRIPLETS, rows)):
        stage = store.stage(name, schema, "k")
        stage.write(from_rows(some, schema))
        stage.commit({}, {})
    return store


def exported(store: Store, marks: dict[int, str], reviewer: str = "Ann") -> dict:
    return {
        "schema": "facap.review.marks", "version": 1, "triplets": store.fingerprint("triplets"),
        "sample": "0123456789ab", "reviewer": reviewer, "exported_at": TIME,
        "marks": [
            {"reference_id": f"r{n:02}", "target_id": f"t{n:02}", "mark": mark, "time": TIME}
            for n, mark in marks.items()
        ],
    }  # fmt: skip


def written(folder: Path, name: str, content: object) -> str:
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


# --- the sample -----------------------------------------------------------------------------------


def test_usable_rows_have_a_text_and_a_score(store: Store) -> None:
    found = usable(store, "quality")
    assert [t.key for t in found] == [(f"r{n:02}", f"t{n:02}") for n in range(40)]
    assert found[0].modification == "make it number 0"  # the pair is there twice
    with pytest.raises(ConfigError, match=r"no column of scores 'faith'; there are: .*quality"):
        usable(store, "faith")
    with pytest.raises(ConfigError, match="no column of scores 'category'"):
        usable(store, "category")


def test_every_category_and_bucket_is_drawn_alike_however_rare() -> None:
    rng = random.Random(0)
    triplets = [
        Triplet(f"r{n}", "t", rng.choice(("top", "dress")), "text", 0.25 if n < 8 else 1.0)
        for n in range(500)
    ]
    edges = lower_edges([t.score for t in triplets], 4)
    drawn = draw(triplets, edges, 20, seed=1)
    assert edges == [0.25, 1.0] and len({t.key for t in drawn}) == 20
    low = [t for t in drawn if t.score == 0.25]
    assert len(low) >= 6 and {t.category for t in low} == {"top", "dress"}
    assert drawn == draw(triplets[::-1], edges, 20, seed=1) != draw(triplets, edges, 20, seed=2)
    assert sorted(draw(triplets, edges, 999, seed=1), key=lambda t: t.key) == sorted(
        triplets, key=lambda t: t.key
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.integers(1, 8))
def test_every_score_is_in_a_bucket_and_no_bucket_is_empty(scores: list[float], num_buckets: int) -> None:
    edges = lower_edges(scores, num_buckets)
    assert edges == sorted(set(edges)) and len(edges) <= num_buckets
    assert {bucket_of(score, edges) for score in scores} == set(range(len(edges)))


# --- the page -------------------------------------------------------------------------------------


def test_the_page_shows_texts_as_text_allows_its_own_script_and_hides_the_score(store: Store) -> None:
    built = page.build(store, ReviewConfig(num_triplets=60, picture_px=64))
    assert (built.shown, built.usable, built.lost) == (39, 40, 1)  # t05 is not in IMAGES
    text = Path(built.address).read_text()
    assert text.count("<script") == 1 and "&lt;img src=x onerror" in text and "onerror=alert(1)>" not in text
    assert "unsafe" not in text and "quality" not in text
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    allowed = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert script and style and allowed
    assert html.unescape(allowed[1]) == page.policy(style[1], script[1])
    assert html.unescape(allowed[1]).startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert len(re.findall(r"<img src=\"data:image/jpeg;base64,", text)) == text.count("<img ") == 2 * 39
    assert f'data-version="{store.fingerprint("triplets")}"' in text


def test_no_pictures_at_all_is_said(store: Store) -> None:
    stage = store.stage("images", IMAGES, "k2")
    row = {"product_id": "p", "category": "top", "url": "u", "status": "ok", "fetched_at": datetime.now(UTC)}
    stage.write(from_rows([row | {"item_id": "i", "image_id": "other", "bytes": jpeg()}], IMAGES))
    stage.commit({}, {})
    with pytest.raises(StageFailed, match="IMAGES holds the pictures of none of the triplets"):
        page.build(store, ReviewConfig())


# --- marks files ----------------------------------------------------------------------------------

GOOD = {
    "schema": "facap.review.marks", "version": 1, "triplets": "0123456789ab", "sample": "0123456789ab",
    "reviewer": " Ann Übel ", "exported_at": TIME,
    "marks": [{"reference_id": "r", "target_id": "t", "mark": "good", "time": TIME}],
}  # fmt: skip
MARK = GOOD["marks"][0]  # type: ignore[index]


def test_a_marks_file_is_read() -> None:
    found = parse_marks(json.dumps(GOOD).encode(), "ann.json")
    assert found.reviewer == "Ann Übel" and found.marks[0].key == ("r", "t")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is not JSON"),
        (b"[" * 100_000, "the file is not JSON"),
        (b"\xff\xfe", "the file is not JSON"),
        (b"[]", "the file input should be an object"),
        ({**GOOD, "schema": "other"}, "'schema' has none of the values"),
        ({**GOOD, "version": 2}, "'version' has none of the values"),
        ({**GOOD, "triplets": "../../etc"}, "'triplets' is malformed"),
        ({k: v for k, v in GOOD.items() if k != "reviewer"}, "'reviewer' is missing"),
        ({**GOOD, "reviewer": "   "}, "'reviewer' string should have at least 1 character"),
        ({**GOOD, "reviewer": "x" * 81}, "'reviewer' string should have at most 80"),
        ({**GOOD, "reviewer": "Ann\x1b[31m"}, "'reviewer' value error, should have no control characters"),
        ({**GOOD, "\x1b[31mred" * 9: 1}, r"'\\x1b\[31mred\S{0,40}' is not known"),
        ({**GOOD, "marks": []}, "'marks' list should have at least 1 item"),
        ({**GOOD, "marks": [{**MARK, "mark": "fine"}]}, r"'marks\.0\.mark' has none of the values"),
        ({**GOOD, "marks": [{**MARK, "time": "10:00"}]}, r"'marks\.0\.time' "),
        (
            {**GOOD, "marks": [{**MARK, "time": "2026-11-25T10:00:00"}]},
            r"'marks\.0\.time' ",
        ),  # of which zone?
        (
            {**GOOD, "marks": [{**MARK, "target_id": "\x1b[1m"}]},
            r"'marks\.0\.target_id' .*no control characters",
        ),
        ({**GOOD, "marks": [{**MARK, "target_id": "x" * 257}]}, r"'marks\.0\.target_id' .*at most 256"),
        ({**GOOD, "marks": [{**MARK, "note": "x"}]}, r"'marks\.0\.note' is not known"),
        ({**GOOD, "marks": [MARK, {**MARK, "mark": "bad"}]}, "r > t is marked 2 times"),
        ({**GOOD, "marks": [MARK] * (MAX_MARKS + 1)}, "'marks' list should have at most 20000 items"),
    ],
)
def test_what_is_no_marks_file_is_one_sentence(content: object, said: str) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(ContractError, match=said) as caught:
        parse_marks(data, "ann.json")
    message = str(caught.value)
    assert message.startswith("ann.json: ") and "\n" not in message and len(message) < 250
    assert message.isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.builds(lambda v: json.dumps(v).encode(), json_values))
def test_any_bytes_are_refused_with_one_printable_sentence(data: bytes) -> None:
    with pytest.raises(ContractError) as caught:
        parse_marks(data, "x.json")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*GOOD, *MARK]), json_values)
def test_one_strange_value_is_read_as_it_is_or_refused(name: str, value: object) -> None:
    content = {**GOOD, name: value} if name in GOOD else {**GOOD, "marks": [{**MARK, name: value}]}
    try:
        found = parse_marks(json.dumps(content).encode(), "x.json")
    except ContractError as error:
        assert str(error).isprintable() and len(str(error)) < 300
    else:
        assert isinstance(found, MarksFile) and found.reviewer.isprintable()
        assert found.marks[0].mark in ("good", "bad") and found.version == 1


def test_files_that_cannot_be_read_or_are_too_large(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"review\.marks: .*gone\.json cannot be read: No such file"):
        read_marks(str(tmp_path / "gone.json"))
    with pytest.raises(ConfigError, match="Is a directory"):
        read_marks(str(tmp_path))
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ContractError, match=f"at most {MAX_BYTES} bytes"):
        read_marks(str(large))


# --- agreement ------------------------------------------------------------------------------------


def test_wilson_is_the_textbooks() -> None:
    assert agreement.wilson(9, 10, 0.95) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert agreement.wilson(0, 10, 0.95) == pytest.approx((0, 0.2775), abs=1e-4)


def test_auroc_counts_pairs_and_ties_half() -> None:
    good = np.array([True, True, False, False])
    assert agreement.auroc(np.array([4, 3, 2, 1]), good) == 1
    assert agreement.auroc(np.array([1, 1, 1, 1]), good) == 0.5
    assert agreement.auroc(np.array([3, 1, 2, 1]), good) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert math.isnan(agreement.auroc(np.array([1, 2]), np.array([True, True])))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25))
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    score, good = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [(a > b) + 0.5 * (a == b) for a in score[good] for b in score[~good]]
    if pairs:
        assert agreement.auroc(score, good) == pytest.approx(np.mean(pairs))


def test_kappa_by_hand() -> None:
    one = np.array([True] * 25 + [False] * 25)
    other = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)  # the textbook's 20, 5, 10, 15
    assert agreement.kappa(one, other) == pytest.approx(0.4)
    assert math.isnan(agreement.kappa(np.array([True, True]), np.array([True, True])))


def test_the_threshold_is_the_one_that_agrees_best() -> None:
    score = np.array([0.25, 0.25, 0.5, 0.75, 1.0, 1.0])
    assert agreement.best_threshold(score, np.array([False, False, False, True, True, True])) == 0.75
    assert agreement.best_threshold(score, np.array([True] * 6)) == 0.25


def test_marks_stand_for_the_triplets_of_their_stratum() -> None:
    weight = agreement.stratum_weights(np.array([0, 0, 1]), {0: 900, 1: 100})
    assert weight.tolist() == [450, 450, 100]
    share, low, high = agreement.weighted_share(np.array([True, False, False]), weight, 0.95)
    assert share == pytest.approx(0.45) and 0 < low < share < high < 1


# --- both jobs ------------------------------------------------------------------------------------


def test_scoring_two_reviewers(store: Store, tmp_path: Path) -> None:
    truth = {n: "good" if n % 4 == 3 else "bad" for n in range(24)}  # good just where quality is 1
    ann = written(tmp_path, "ann.json", exported(store, truth))
    bob = written(tmp_path, "bob.json", exported(store, truth | {3: "bad", 0: "good"}, "Bob"))
    config = ReviewConfig(marks=(ann, bob), num_resamples=100)
    figures = scoring.score(store, config)
    assert json.loads(Path(store.path("reports", "agreement.json")).read_text()) == figures
    assert figures["marked"] == 24 and figures["disputed"] == 2
    assert figures["threshold"] == 1 and figures["auroc"] == {"value": 1, "low": 1, "high": 1}
    assert figures["accuracy"]["value"] == 1 and 0.8 < figures["accuracy"]["low"] < 1
    assert [(row["least"], row["triplets"], row["good"]) for row in figures["buckets"]] == [
        (0.25, 10, 0), (0.5, 10, 0), (0.75, 10, 0), (1.0, 10, 5)
    ]  # fmt: skip
    assert figures["share_good"]["value"] == pytest.approx(0.25)
    (pair,) = figures["between"]
    assert pair["both"] == 24 and pair["agree"]["value"] == pytest.approx(22 / 24, abs=1e-4)
    words = scoring.in_words(figures)
    assert "24 triplets marked: Ann 24 (6 good), Bob 24 (6 good); 2 left out" in words
    assert "AUROC of quality" in words and "Ann and Bob, 24 triplets both" in words


def test_marks_of_one_kind_leave_figures_out(store: Store, tmp_path: Path) -> None:
    ann = written(tmp_path, "ann.json", exported(store, dict.fromkeys(range(8), "good")))
    figures = scoring.score(store, ReviewConfig(marks=(ann,), num_resamples=100))
    assert figures["auroc"] is None and figures["kappa"] is None and figures["commonest"] == 1
    assert "AUROC of quality           -" in scoring.in_words(figures)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"triplets": "0" * 12}, "its marks are of TRIPLETS 000000000000, the workspace holds"),
        (
            {"marks": [{**MARK, "reference_id": "zz"}]},
            "1 of 1 marks are of pairs without a text and a quality",
        ),
        ({"reviewer": "Ann"}, "Ann is the reviewer of .*0.json as well; pass only the last file"),
    ],
)
def test_marks_that_do_not_belong_are_refused(store: Store, tmp_path: Path, changes: dict, said: str) -> None:
    files = [
        written(tmp_path, "0.json", exported(store, {1: "good"})),
        written(tmp_path, "1.json", exported(store, {1: "good"}, "Bob") | changes),
    ]
    with pytest.raises(ContractError, match=said):
        scoring.score(store, ReviewConfig(marks=tuple(files)))


def test_no_file_is_said(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"name the files that reviewers exported"):
        scoring.score(store, ReviewConfig())


def test_the_jobs_say_what_they_made_and_fail_in_one_sentence(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    where = ["--workspace", store.root, "--review.num_triplets", "8"]
    assert run_tool("Makes the page.", review_triplets, where) == 0
    assert "8 of 40 triplets" in capfd.readouterr().out
    ann = written(tmp_path, "ann.json", exported(store, {n: ("good", "bad")[n % 2] for n in range(12)}))
    bob = written(tmp_path, "bob.json", exported(store, {n: "good" for n in range(12)}, "Bob"))
    assert run_tool("Scores.", score_review, [*where, "--review.marks", ann, "--review.marks", bob]) == 0
    assert "same mark" in capfd.readouterr().out
    assert run_tool("Scores.", score_review, [*where, "--review.marks", str(tmp_path / "no.json")]) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: review.marks: ")
