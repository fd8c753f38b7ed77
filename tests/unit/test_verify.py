"""Verification's pure parts: what texts claim, what answers support, and whether wrong texts are found."""

import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.verify import detection, prepare, write_corrupted
from facap.annotate import taxonomy
from facap.annotate.claims import claims, spread
from facap.catalog import wording
from facap.catalog.garments import sample_garment, sample_variant
from facap.errors import ConfigError, DatasetMissing, StageFailed
from facap.model.checkpoints import resolve, weights_hash
from facap.progress import Progress
from facap.review.agreement import auroc
from facap.schemas import CAPTIONS, IMAGES, TRIPLETS, VERDICTS, from_rows
from facap.store import Store, stage_key
from facap.study.corrupted_texts import KINDS, Pair, corrupt, is_false, other_value
from facap.train import pipeline as training
from facap.train.chosen import FILTERS, left_out
from facap.train.config import NOT_IN_KEY, TrainConfig
from facap.train.feed import split_rows
from facap.verify import answers
from facap.verify.config import VerifyConfig
from facap.verify.origin import Origin
from facap.verify.pipeline import needed, other_views
from facap.verify.reading import DESCRIPTION, read
from facap.verify.verdicts import NO_ANSWER, Judge, judge
from jobs.job_settings import load_settings

WORDS = taxonomy.load()
ORIGIN = {"model": "m", "prompt_hash": "p", "params_hash": "p"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the same but in red", ["target: colour red"]),
        ("change the colour from navy to red", ["reference: colour navy", "target: colour red"]),
        ("make it red instead of navy", ["target: colour red", "reference: colour navy"]),
        ("remove the belt", ["reference: closure belt", "target: not closure belt"]),
        ("the same without a belt", ["target: not closure belt"]),
        (
            "drop the belt and the pockets",
            [
                "reference: closure belt",
                "target: not closure belt",
                "reference: detail pockets",
                "target: not detail pockets",
            ],
        ),
        ("swap the zip for a belt", ["reference: closure zip", "target: closure belt"]),
        ("replace the long sleeves with short ones", ["reference: sleeve long", "target: sleeve short"]),
        ("change the length from knee to full", ["reference: length knee", "target: length full"]),
        ("make the length full instead of knee", ["target: length full", "reference: length knee"]),
        (
            "change the accents from off-white to navy and add a bow",
            ["reference: second_colour white", "target: second_colour navy", "target: detail bow"],
        ),
        ("something more elegant", []),
        ("red, red and again red", ["target: colour red"]),
    ],
)
def test_claims(text: str, expected: list[str]) -> None:
    assert [str(claim) for claim in claims(text, WORDS)] == expected


def test_nouns_are_said_for_both_values() -> None:
    assert spread("The Length from knee to full, in red") == "the from knee length to full length, in red"


def test_a_verdict_names_what_is_claimed_and_not_seen() -> None:
    reference = {"colour": "navy", "closure": "belt", "fit": "loose"}
    target = {"colour": "red", "second_colour": "white", "fit": "fitted"}
    verdict = judge("change navy to white, remove the belt and add a bow", [reference], [target], WORDS)
    assert verdict["claims"] == 5 and verdict["failed"] == 1
    assert verdict["faithfulness"] == pytest.approx(0.8)
    assert verdict["unsupported"] == ["target: detail bow (seen: nothing)"]
    assert verdict["unspoken"] == ["fit: loose > fitted", "second_colour: nothing > white"]
    wrong = judge("make it green instead of red", [reference], [target], WORDS)
    assert wrong["faithfulness"] == 0
    assert wrong["unsupported"] == [
        "target: colour green (seen: red, white)",
        "reference: colour red (seen: navy)",
    ]
    assert judge("more elegant", [reference], [target], WORDS)["faithfulness"] is None


def test_other_views_of_a_product_are_witnesses() -> None:
    reference, target = {"colour": "navy"}, {"colour": "red", "closure": "belt"}
    unbelted, zipped = {"colour": "red"}, {"colour": "red", "closure": "zip"}
    text = "change navy to red and add a belt"
    assert judge(text, [reference], [target], WORDS)["faithfulness"] == 1
    alike = judge(text, [reference, reference], [target, target], WORDS)
    assert (alike["faithfulness"], alike["unspoken"]) == (1, [])
    for other in (unbelted, zipped):
        doubted = judge(text, [reference], [target, other], WORDS)
        assert doubted["failed"] == 1 and doubted["claims"] == 3
        assert doubted["unsupported"] == [f"target: closure belt (seen: {other.get('closure', 'nothing')})"]
    silent = judge("change navy to red", [reference], [unbelted, target], WORDS)
    assert silent["faithfulness"] == 1 and silent["unspoken"] == ["closure: nothing > belt"]
    # what the picture itself shows is told before what another one does
    told = judge("make it green", [reference], [target, {"colour": "pink"}], WORDS)
    assert told["unsupported"] == ["target: colour green (seen: red)"]


def test_views_are_the_other_kept_pictures_of_a_product(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    common = {"category": "top", "url": "u", "status": "ok", "fetched_at": datetime.now(UTC)}
    rows = [
        common | {"item_id": name, "image_id": name, "product_id": name[0]}
        for name in ("a1", "a2", "a3", "b1", "c1")
    ]
    rows[2]["duplicate_of"] = "a2"
    stage = store.stage("images", IMAGES, "k")
    stage.write(from_rows(rows, IMAGES))
    stage.commit({}, {})
    triplets = pa.table({"reference_id": ["a1", "gone"], "target_id": ["b1", "a2"]})
    assert other_views(store, triplets) == {"a1": ["a2"], "a2": ["a1"], "b1": []}
    with pytest.raises(ValueError, match="views all needs ask describe"):
        VerifyConfig(views="all", ask="attribute")


def test_no_true_text_has_an_unsupported_claim() -> None:
    """True captions and true texts of all styles: reading them makes no mistakes of its own."""
    rng = random.Random(5)
    for _ in range(100):
        reference = sample_garment(rng)
        target = sample_variant(rng, reference)
        seen = [WORDS.attributes(wording.caption(garment)) for garment in (reference, target)]
        for style in wording.STYLES:
            text = wording.modification(reference, target, style)
            assert judge(text, seen[:1], seen[1:], WORDS)["unsupported"] == [], text


@pytest.mark.parametrize(
    ("asked", "text", "expected"),
    [
        (DESCRIPTION, "a navy dress with a belt", {"colour": "navy", "closure": "belt"}),
        ("colour", "navy and white", {"colour": "navy", "second_colour": "white"}),
        ("length", "Knee.", {"length": "knee"}),
        ("length", "knee length, I think, or long", {"length": "knee"}),
        ("closure", "no belt", {}),
        ("closure", "none", {}),
        ("sleeve", "a red one", {}),
    ],
)
def test_answers_are_read_for_what_was_asked(asked: str, text: str, expected: dict) -> None:
    assert read({asked: text}, WORDS) == expected


def test_each_picture_is_asked_for_what_is_claimed_of_it() -> None:
    triplets = pa.table(
        {
            "reference_id": ["a", "a"],
            "target_id": ["b", "c"],
            "modification": ["drop the navy accents", "in red"],
        }
    )
    asked = needed(triplets, VerifyConfig(ask="attribute"))
    assert asked == {"a": {"colour"}, "b": {"colour"}, "c": {"colour"}}
    assert needed(triplets, VerifyConfig()) == {"a": set(), "b": set(), "c": set()}
    origin = Origin(VerifyConfig(ask="attribute"))
    assert "the dress in the picture" in origin.ask("dress", "closure")
    assert "What is its closure?" in origin.ask("top", "closure")
    assert "buttons, zip, belt, laces, wrap" in origin.ask("top", "closure")
    assert "What colours" in origin.ask("top", "colour")


def test_a_prompt_that_uses_an_unknown_name_is_refused_before_anything_starts(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jinja"
    mine.write_text("What about {{ fabric }}?")
    with pytest.raises(ConfigError, match="'fabric' is undefined; it may use attribute, category, values"):
        Origin(VerifyConfig(ask="attribute", question=str(mine)))


def drawn_pairs(number: int) -> list[Pair]:
    rng = random.Random(3)
    pairs = []
    for place in range(number):
        reference = sample_garment(rng)
        target = sample_variant(rng, reference)
        style = wording.STYLES[place % len(wording.STYLES)]
        pairs.append(Pair(reference, target, wording.modification(reference, target, style)))
    return pairs


def test_corrupted_texts_are_as_many_as_asked_for_and_wrong() -> None:
    pairs = drawn_pairs(200)
    texts, kinds = corrupt(pairs, 0.2, seed=1)
    assert corrupt(pairs, 0.2, seed=1) == (texts, kinds) != corrupt(pairs, 0.2, seed=2)
    assert [kinds.count(kind) for kind in KINDS] == [20, 20] and kinds.count(None) == 160
    for pair, text, kind in zip(pairs, texts, kinds, strict=True):
        assert is_false(text, pair.reference, pair.target) or kind != "foreign"
        assert (text == pair.text) == (kind is None)
    pair = Pair(pairs[0].reference, pairs[0].target, "something more elegant")
    assert other_value(pair, random.Random(0)) is None


def verdicts_of(pairs: list[Pair], texts: list[str]) -> pa.Table:
    """Judged by true captions; pair n is of pictures rn and tn."""
    numbers = range(len(pairs))
    said = {f"r{n}": {DESCRIPTION: wording.caption(pairs[n].reference)} for n in numbers}
    said |= {f"t{n}": {DESCRIPTION: wording.caption(pairs[n].target)} for n in numbers}
    columns = {
        "reference_id": [f"r{n}" for n in numbers],
        "target_id": [f"t{n}" for n in numbers],
        "category": [pair.target.category for pair in pairs],
        "split": ["train"] * len(pairs),
        "modification": texts,
    }
    empty = {name: pa.nulls(len(pairs)) for name in ("place", "rank", "gallery_size", "ranked_by")}
    return Judge(said, Origin(VerifyConfig()))(pa.table(columns | empty))


def test_faithfulness_finds_corrupted_texts(tmp_path: Path) -> None:
    """The issue asks for an AUROC of 0.95 with 20 % corrupted."""
    pairs = drawn_pairs(600)
    texts, kinds = corrupt(pairs, 0.2, seed=0)
    verdicts = verdicts_of(pairs, texts)
    scores = [1.0 if s is None else s for s in verdicts.column("faithfulness").to_pylist()]
    good = np.array([kind is None for kind in kinds])
    assert good.sum() == 480
    found = auroc(np.array(scores), good)
    assert found >= 0.97, found

    store = Store(str(tmp_path))
    stage = store.stage("verdicts", VERDICTS, "k")
    stage.write(verdicts)
    stage.commit({}, {})
    keys = [(f"r{n}", f"t{n}") for n in range(len(pairs))]
    figures = detection(store, dict(zip(keys, kinds, strict=True)), least=1.0)
    assert figures["corruption_auroc"] == pytest.approx(found, abs=1e-4)
    assert figures["texts_corrupted"] == 120 and figures["corrupted_left_out"] > 0.95
    assert figures["others_left_out"] == 0 and figures["train_triplets"] == 600


def test_the_benchmark_corrupts_a_copy_and_leaves_the_test_split_alone(tmp_path: Path) -> None:
    pairs = drawn_pairs(50)
    known = {f"r{n}": pair.reference for n, pair in enumerate(pairs)}
    known |= {f"t{n}": pair.target for n, pair in enumerate(pairs)}
    source = Store(str(tmp_path / "source"))
    triplets = [
        {"reference_id": f"r{n}", "target_id": f"t{n}", "category": pair.target.category,
         "modification": pair.text, "split": ("train", "train", "val", "train", "test")[n % 5],
         "status": "ok", **ORIGIN}
        for n, pair in enumerate(pairs)
    ]  # fmt: skip
    triplets[0] |= {"status": "empty", "modification": None}
    captions = [
        {"image_id": name, "item_id": name, "product_id": name, "category": "top", "status": "ok",
         "caption": wording.caption(garment), **ORIGIN}
        for name, garment in known.items()
    ]  # fmt: skip
    for name, schema, rows in (("triplets", TRIPLETS, triplets), ("captions", CAPTIONS, captions)):
        stage = source.stage(name, schema, "k")
        stage.write(from_rows(rows, schema))
        stage.commit({}, {})
    (tmp_path / "copy").mkdir()
    store = prepare(source, tmp_path / "copy")
    assert store.fingerprint("captions") == source.fingerprint("captions")
    assert store.manifest("triplets") is None and store.manifest("images") is None
    kinds = write_corrupted(source, store, known, share=0.2, seed=0)
    assert len(kinds) == 39 and sum(kind is not None for kind in kinds.values()) == 8
    now = {row["reference_id"]: row["modification"] for row in store.read("triplets").to_pylist()}
    changed = {f"r{n}" for n, pair in enumerate(pairs) if n and now[f"r{n}"] != pair.text}
    assert changed == {key[0] for key, kind in kinds.items() if kind is not None} and now["r0"] is None
    assert {row["modification"] for row in source.read("triplets").to_pylist()} != set(now.values())


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([1.0, 0.5, 0.5, 0.0]), np.array([True, True, False, False])) == 0.875


def test_a_picture_without_an_answer_fails_its_triplets() -> None:
    pairs = drawn_pairs(2)
    said = {"r0": {DESCRIPTION: wording.caption(pairs[0].reference)}}
    row = {"reference_id": "r0", "target_id": "t0", "category": "dress", "split": "train"}
    table = pa.Table.from_pylist(
        [row | {"modification": "in red", "place": None, "rank": 3, "gallery_size": 9, "ranked_by": "w"}]
    )
    (verdict,) = Judge(said, Origin(VerifyConfig()))(table).to_pylist()
    assert verdict["status"] == NO_ANSWER and "image t0" in verdict["error"]
    assert verdict["faithfulness"] is None and verdict["rank"] == 3


def workspace(root: Path, verdicts: list[dict] | None) -> Store:
    store = Store(str(root))
    now = datetime.now(UTC)
    images = [
        {"item_id": f"i{n}", "image_id": f"i{n}", "product_id": f"p{n}", "category": "top", "url": "u",
         "status": "ok", "fetched_at": now}
        for n in range(8)
    ]  # fmt: skip
    triplets = [
        {"reference_id": f"i{n}", "target_id": f"i{n + 1}", "category": "top", "modification": "in red",
         "split": "val" if n == 6 else "train", "status": "ok", **ORIGIN}
        for n in range(7)
    ]  # fmt: skip
    for name, schema, rows in (("images", IMAGES, images), ("triplets", TRIPLETS, triplets)):
        stage = store.stage(name, schema, "k")
        stage.write(from_rows(rows, schema))
        stage.commit({}, {})
    if verdicts is not None:
        keys = [{k: t[k] for k in ("reference_id", "target_id", "category", "split")} for t in triplets]
        rows = [{**key, **ORIGIN, "status": "ok", **v} for key, v in zip(keys, verdicts, strict=False)]
        stage = store.stage("verdicts", VERDICTS, "k")
        stage.write(from_rows(rows, VERDICTS))
        stage.commit({}, {"triplets": store.fingerprint("triplets")})
    return store


VERDICT_ROWS = [
    {"faithfulness": 1.0, "rank": 1, "unspoken": ["closure: nothing > belt"]},
    {"faithfulness": 0.5, "rank": 2},
    {"faithfulness": 0.9, "rank": 60},
    {"faithfulness": None, "rank": None},  # says nothing: kept
    {"status": NO_ANSWER, "rank": 70},
]  # the sixth has no verdict, the seventh is of the val split


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"min_faithfulness": 0.8}, [0, 2, 3, 4, 5]),
        ({"max_rank": 50}, [0, 1, 3, 5]),
        ({"min_faithfulness": 1.0, "max_rank": 1}, [0, 3, 5]),
        ({"max_unspoken": 1}, [0, 1, 2, 3, 4, 5]),
        ({"max_unspoken": 0}, [1, 2, 3, 4, 5]),
    ],
)
def test_training_leaves_out_what_verdicts_call_bad(tmp_path: Path, filters: dict, kept: list[int]) -> None:
    store = workspace(tmp_path, VERDICT_ROWS)
    out = left_out(store, TrainConfig(**filters))
    assert split_rows(store, "train", out)["reference_id"].to_pylist() == [f"i{n}" for n in kept]
    assert split_rows(store, "val", out).num_rows == 1


def test_a_filter_without_verdicts_of_these_triplets_is_a_clear_error(tmp_path: Path) -> None:
    store = workspace(tmp_path, None)
    with pytest.raises(DatasetMissing, match=r"run python -m jobs\.verify_triplets first"):
        training.run(store, TrainConfig(min_faithfulness=0.9), Progress("train"))
    workspace(tmp_path, [{"faithfulness": 1.0}])
    with pytest.raises(StageFailed, match="have none"):
        left_out(store, TrainConfig(max_rank=10))
    stage = store.stage("triplets", TRIPLETS, "other")
    stage.write(store.read("triplets"))
    stage.commit({}, {})
    with pytest.raises(StageFailed, match="of other TRIPLETS"):
        left_out(store, TrainConfig(min_faithfulness=0.9))


def test_verdicts_are_in_the_key_of_a_training_only_if_it_filters(tmp_path: Path) -> None:
    store = workspace(tmp_path, VERDICT_ROWS)
    plain, filtered = TrainConfig(), TrainConfig(min_faithfulness=0.9)
    inputs = {name: store.fingerprint(name) for name in ("triplets", "images")}
    inputs["base"] = weights_hash(resolve(plain.model.base))
    extra = {"steps": 1, "kept_step": 1, "ranks": 1, "train_rows": 6, "metrics": {}}

    def finished(config: TrainConfig, unset: set[str], more: dict[str, str]) -> bool:
        settings = config.model_dump(mode="json", exclude=NOT_IN_KEY | unset)
        key = stage_key("train", training.VERSION, settings, inputs | more)
        store.stage("model", None, key).commit({}, {}, files=[], extra=extra)
        return training.run(store, config, Progress("train")).reused

    assert finished(plain, FILTERS, {})
    assert finished(filtered, set(), {"verdicts": store.fingerprint("verdicts")})


def test_the_verifying_model_is_the_captioning_one_unless_it_is_given() -> None:
    settings = load_settings(["--caption.model", "/m/vlm", "--caption.chat", "true"], "job", "")
    assert (settings.verify.model, settings.verify.chat) == ("/m/vlm", True)
    words = ["--caption.model", "/m/vlm", "--verify.model", "/m/other", "--mlflow_uri", "http://tracking"]
    settings = load_settings(words, "job", "")
    assert (settings.verify.model, settings.verify.mlflow_uri) == ("/m/other", "http://tracking")
    assert settings.caption.model == "/m/vlm"


@pytest.mark.parametrize(
    ("raw", "cut_off", "status", "text"),
    [
        ("<think>navy?</think>Answer: **long sleeves**<|im_end|>", False, "ok", "long sleeves"),
        ("none", False, "ok", "none"),
        ("I'm sorry, but I can't see the dress.", False, "refused", None),
        ("红色", False, "other_language", None),
        ("long sleeves, as the", True, "too_long", None),
        ("<think>it has long sleeves", False, "empty", None),
    ],
)
def test_an_answer_to_a_question_is_read_as_captions_are(
    raw: str, cut_off: bool, status: str, text: str | None
) -> None:
    origin = Origin(VerifyConfig(ask="attribute", model="facap/tiny-captioner"))
    asked = {"image_id": "i", "category": "dress", "attribute": "sleeve", "failure": None, "error": None}
    row = answers._Judge(origin).row(
        asked | {"raw": raw, "cut_off": cut_off, "prompt_tokens": 9, "written_tokens": 3}
    )
    assert (row["status"], row.get("answer"), row["raw"]) == (status, text, raw)
