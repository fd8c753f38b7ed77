"""Prompts by category, and what a changed setting or input leaves to be asked; no engine runs here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from facap.annotate import cache, caption_pipeline, modify_pipeline
from facap.annotate.config import CaptionConfig, ModifyConfig
from facap.annotate.origin import Origin, rendered_hash
from facap.config import parse
from facap.errors import ConfigError
from facap.progress import Progress
from facap.schemas import CAPTIONS, CATEGORIES, IMAGES, OK, PAIRS, TRIPLETS, from_rows
from facap.store import Stage, Store
from jobs.job_settings import Settings

COLOURS = ("red", "navy", "green", "orange", "purple", "black")
TEXT = st.sampled_from([f"a {colour} dress with long sleeves" for colour in COLOURS])


# -- prompts by category


def test_a_template_of_a_category_is_set_by_flag_file_or_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"dress": "caption_fashion", "top": "./own.jinja"}
    file = tmp_path / "shop.yaml"
    file.write_text("caption:\n  templates: {dress: caption_fashion, top: ./own.jinja}\n")
    for words in (
        ["--config", str(file)],
        ["--caption.templates", '{"dress": "caption_fashion", "top": "./own.jinja"}'],
        ["--caption.templates", "dress=caption_fashion", "--caption.templates", "top=./own.jinja"],
        ["--caption.templates", "dress=caption_fashion,top=./own.jinja"],
    ):
        assert parse(Settings, words, "caption", "").caption.templates == wanted
    monkeypatch.setenv("FACAP_MODIFY__TEMPLATES", '{"dress": "modify_fashion"}')
    assert parse(Settings, [], "modify", "").modify.templates == {"dress": "modify_fashion"}


def test_an_unknown_category_is_one_sentence(tmp_path: Path) -> None:
    message = r"setting 'caption.templates': 'dres' is no category; did you mean 'dress'\?; there are dress, "
    with pytest.raises(ConfigError, match=message):
        parse(Settings, ["--caption.templates", "dres=caption_fashion"], "caption", "")
    with pytest.raises(ConfigError, match="no prompt 'captoin'"):
        Origin(CaptionConfig(templates={"dress": "captoin"}))


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_row_says_which_prompt_its_category_has(category: str) -> None:
    config = CaptionConfig(templates={"dress": "caption_fashion"})
    ask = caption_pipeline._Ask(config, Origin(config).prompts)
    own = Origin(config).of(category)["prompt_hash"] != Origin(CaptionConfig()).of(category)["prompt_hash"]
    assert own == (category == "dress")
    assert (ask.prompt(category) == "a picture of") == (category != "dress")


def test_the_key_follows_the_content_of_every_template(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("a picture of a")

    def key() -> str:
        return caption_pipeline.key(CaptionConfig(templates={"top": str(own)}), "i")

    before, common = key(), caption_pipeline.key(CaptionConfig(), "i")
    own.write_text("a photograph of a")
    assert len({key(), before, common}) == 3
    own.write_text((Path(caption_pipeline.__file__).parent / "prompts" / "caption_plain.jinja").read_text())
    assert key() == common  # asks all categories the same


# -- what an answer depends on


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 32},
        {"temperature": 0.5},
        {"chat": True},
        {"prepare": "as_is"},
        {"image_px": 64},
        {"engine": {"dtype": "bfloat16"}},
        {"engine": {"max_model_len": 512}},
        {"engine": {"engine_kwargs": {"quantization": "fp8"}}},
    ],
)
def test_settings_that_shape_an_answer_are_in_params_hash(change: dict) -> None:
    assert Origin(CaptionConfig(**change)).params_hash != Origin(CaptionConfig()).params_hash


@pytest.mark.parametrize(
    "change",
    [
        {"max_chars": 100},
        {"template": "caption_fashion"},
        {"max_failure_rate": 0.5},
        {"engine": {"num_engines": 4, "batch_size": 8, "hourly_cost": 2.0}},
    ],
)
def test_others_are_not(change: dict) -> None:
    assert Origin(CaptionConfig(**change)).params_hash == Origin(CaptionConfig()).params_hash
    as_is = CaptionConfig(prepare="as_is")
    assert Origin(as_is.model_copy(update={"image_px": 64})).params_hash == Origin(as_is).params_hash


# -- captions


def image(number: int, category: str = "dress") -> dict[str, Any]:
    ids = {"image_id": f"{number:032x}", "item_id": f"item{number}", "product_id": f"p{number}"}
    return ids | {"category": category}


def put(store: Store, name: str, schema: Any, rows: list[dict], key: str = "given") -> None:
    stage = store.stage(name, schema, key)
    stage.write(from_rows(rows, schema))
    stage.commit(config={}, inputs={})


def put_images(store: Store, images: list[dict], key: str = "given") -> None:
    more = {"url": "u", "status": OK, "fetched_at": 0}
    put(store, "images", IMAGES, [row | more for row in images], key)


def caption_of(row: dict, config: CaptionConfig, raw: str, **answer: Any) -> dict[str, Any]:
    """The row that the stage would have made of an engine's answer."""
    made_by = Origin(config)
    prompt = made_by.prompts.of(row["category"]).render(category=row["category"])
    answered = (
        {"raw": raw, "prompt_tokens": 9, "written_tokens": 4, "cut_off": False}
        | {"confidence": 0.75}
        | answer
    )
    answered |= {"rendered_hash": rendered_hash(prompt), "failure": None, "error": None}
    return caption_pipeline._Judge(config, made_by).row(row | answered)


def carry_captions(store: Store, config: CaptionConfig, images: list[dict]) -> tuple[int, Stage]:
    """What a run does before it asks an engine."""
    stage = store.stage("captions", CAPTIONS, caption_pipeline.key(config, store.fingerprint("images")))
    made_by = Origin(config)
    kept = caption_pipeline.keep(store.read("images"))
    left = caption_pipeline._without(kept, stage.done("item_id"))
    wanted = caption_pipeline._Wanted(left, caption_pipeline._Ask(config, made_by.prompts))
    judge = caption_pipeline._Judge(config, made_by)
    return cache.carry_over(store, stage, made_by, wanted, judge.row), stage


def ids(stage: Stage) -> list[str]:
    return stage.read(["image_id"]).column(0).to_pylist()


def test_a_changed_prompt_of_one_category_leaves_that_category(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    images = [image(n, CATEGORIES[n % 3]) for n in range(30)]
    put_images(store, images)
    before = CaptionConfig()
    put(store, "captions", CAPTIONS, [caption_of(row, before, " a red dress") for row in images])
    config = CaptionConfig(templates={"jacket": "caption_fashion"})
    carried, stage = carry_captions(store, config, images)
    assert carried == 20
    rows = stage.read().to_pylist()
    assert {row["category"] for row in rows} == {"dress", "outfit"}
    assert {row["image_id"] for row in rows} == {
        row["image_id"] for row in images if row["category"] != "jacket"
    }
    assert all(row["prompt_hash"] == Origin(config).of(row["category"])["prompt_hash"] for row in rows)
    assert all((row["prompt_tokens"], row["raw"]) == (9, " a red dress") for row in rows)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_taken_over_is_what_is_good_wanted_and_asked_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = Store(str(tmp_path_factory.mktemp("w")))
    known = data.draw(st.lists(st.integers(0, 30), unique=True, min_size=1))
    wanted = data.draw(st.lists(st.integers(0, 30), unique=True, min_size=1))
    category = data.draw(
        st.dictionaries(st.sampled_from(known), st.sampled_from(CATEGORIES)).map(
            lambda chosen: lambda n: chosen.get(n, "dress")
        )
    )
    raws = data.draw(st.lists(TEXT | st.just("the the the the"), min_size=len(known), max_size=len(known)))
    before = CaptionConfig(templates={"top": "caption_fashion"})
    config = CaptionConfig(templates={"skirt": "caption_fashion"})
    rows = [caption_of(image(n, category(n)), before, raw) for n, raw in zip(known, raws, strict=True)]
    stage = store.stage("captions", CAPTIONS, "before")
    for part in range(3):
        stage.write(from_rows(rows[part::3], CAPTIONS))
    stage.commit(config={}, inputs={})
    put_images(store, [image(n, category(n)) for n in wanted])

    expected = {
        row["image_id"]
        for row in rows
        if row["status"] == OK
        and row["category"] not in ("top", "skirt")
        and int(row["image_id"], 16) in wanted
    }
    carried, stage = carry_captions(store, config, wanted)
    assert carried == len(expected) and sorted(ids(stage)) == sorted(expected)
    parts = stage.parts()
    if parts:  # a kill: some parts are there, others are not
        (Path(stage.folder) / data.draw(st.sampled_from(parts))).unlink()
    lost = len(expected) - len(ids(stage))
    assert carry_captions(store, config, wanted)[0] == lost
    assert sorted(ids(stage)) == sorted(expected)
    assert carry_captions(store, config, wanted)[0] == 0


def test_captions_are_judged_anew_and_a_run_without_questions_starts_no_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = Store(str(tmp_path / "w"))
    images = [image(n) for n in range(5)]
    put_images(store, images)
    raw = " Caption: a red garment with a shimmery hem "
    put(store, "captions", CAPTIONS, [caption_of(row, CaptionConfig(), raw) for row in images])
    words = tmp_path / "words.yaml"
    words.write_text("sheen:\n  values:\n    glittering: [shimmery]\n")
    moved = [row | {"item_id": "moved-" + row["item_id"], "category": "skirt"} for row in images]
    put_images(store, moved, "new")  # the prompt does not speak of the category
    config = CaptionConfig(taxonomy=str(words), max_chars=700)
    report = caption_pipeline.run(store, config, Progress("caption"))
    assert (report.rows_in, report.rows_out, report.reused) == (5, 5, False)
    rows = store.read("captions").to_pylist()
    assert all(dict(row["attributes"])["sheen"] == "glittering" for row in rows)
    assert {row["item_id"] for row in rows} == {row["item_id"] for row in moved}
    assert {row["category"] for row in rows} == {"skirt"}
    usage = store.require("captions").extra["usage"]
    assert (usage["rows"], usage["carried"]) == (0, 5)
    assert "5 rows are taken over" in capsys.readouterr().out and "5 rows taken over" in report.note


def test_what_is_too_long_by_now_is_asked_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    images = [image(n) for n in range(4)]
    put_images(store, images)
    texts = ["a red dress", "a red dress with long sleeves and a round neckline"] * 2
    rows = [caption_of(row, CaptionConfig(), text) for row, text in zip(images, texts, strict=True)]
    put(store, "captions", CAPTIONS, rows)
    carried, stage = carry_captions(store, CaptionConfig(max_chars=20), images)
    assert carried == 2 and sorted(ids(stage)) == [images[0]["image_id"], images[2]["image_id"]]
    assert not stage.parts("failed-")


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"image_px": 64}, {"template": "caption_fashion"}])
def test_nothing_is_taken_over_from_other_settings(tmp_path: Path, change: dict) -> None:
    store = Store(str(tmp_path))
    put_images(store, [image(1)])
    put(store, "captions", CAPTIONS, [caption_of(image(1), CaptionConfig(), "a red dress")])
    assert carry_captions(store, CaptionConfig(**change), [image(1)])[0] == 0


def test_nothing_is_taken_over_from_a_version_of_another_schema(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put_images(store, [image(1)])
    row = caption_of(image(1), CaptionConfig(), "a red dress")
    older = CAPTIONS.remove(CAPTIONS.get_field_index("rendered_hash"))
    older = older.with_metadata(older.metadata | {b"facap.version": b"2"})
    put(store, "captions", older, [{k: v for k, v in row.items() if k != "rendered_hash"}])
    assert carry_captions(store, CaptionConfig(), [image(1)])[0] == 0


# -- triplets


def pair(reference: int, target: int) -> dict[str, Any]:
    return {
        "reference_id": f"{reference:032x}",
        "target_id": f"{target:032x}",
        "category": "dress",
        "split": "val",
    }


def put_captions(store: Store, colours: Iterable[str], key: str = "given") -> None:
    texts = [f"a {colour} dress with long sleeves" for colour in colours]
    rows = [caption_of(image(n), CaptionConfig(), text) for n, text in enumerate(texts)]
    put(store, "captions", CAPTIONS, rows, key)


def put_triplets(store: Store, pairs: list[dict], config: ModifyConfig) -> None:
    """The version of the settings `config`, as if an engine had written it."""
    made_by = Origin(config)
    ask, judge = modify_pipeline._Ask(config, made_by.prompts), modify_pipeline._Judge(config, made_by)
    ready, refused = modify_pipeline.match(pairs, modify_pipeline._captions(store))
    assert not refused
    said = {"prompt_tokens": 9, "written_tokens": 4, "cut_off": False, "failure": None, "error": None}
    rows = [
        judge.row(row | said | {"raw": "a bit chic", "rendered_hash": rendered_hash(ask.prompt(row))})
        for row in ready
    ]
    put(store, "triplets", TRIPLETS, rows)


def carry_triplets(store: Store, config: ModifyConfig) -> set[tuple[str, str]]:
    key = modify_pipeline.key(config, store.fingerprint("pairs"), store.fingerprint("captions"))
    stage = store.stage("triplets", TRIPLETS, key)
    made_by = Origin(config)
    ask, judge = modify_pipeline._Ask(config, made_by.prompts), modify_pipeline._Judge(config, made_by)
    pairs = store.read("pairs", list(modify_pipeline._PAIR)).to_pylist()
    ready, _ = modify_pipeline.match(modify_pipeline._without(pairs, stage), modify_pipeline._captions(store))
    cache.carry_over(store, stage, made_by, modify_pipeline._Wanted(ready, ask), judge.row)
    rows = stage.read().to_pylist()
    assert len(rows) == len({(row["reference_id"], row["target_id"]) for row in rows})
    return {(row["reference_id"], row["target_id"]) for row in rows}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five captions, the twenty pairs of them and a text for each."""
    store = Store(str(tmp_path))
    put_captions(store, COLOURS[:5])
    pairs = [pair(a, b) for a in range(5) for b in range(5) if a != b]
    put(store, "pairs", PAIRS, [row | {"similarity": 0.5} for row in pairs])
    put_triplets(store, pairs, ModifyConfig())
    return store


def test_a_changed_caption_leaves_the_pairs_that_it_is_in(store: Store) -> None:
    put_captions(store, ["black", *COLOURS[1:5]], "new")
    carried = carry_triplets(store, ModifyConfig())
    assert carried == {(f"{a:032x}", f"{b:032x}") for a in range(1, 5) for b in range(1, 5) if a != b}
    assert carry_triplets(store, ModifyConfig()) == carried  # again, as after a kill


def test_another_list_of_styles_leaves_the_pairs_whose_style_is_another(store: Store) -> None:
    styles = ("change", "change", "want", "want")
    config = ModifyConfig(styles=styles)
    carried = carry_triplets(store, config)
    prompts = Origin(config).prompts
    now, before = (modify_pipeline._Ask(c, prompts) for c in (config, ModifyConfig()))
    pairs = store.read("pairs", list(modify_pipeline._PAIR)).to_pylist()
    same = {(row["reference_id"], row["target_id"]) for row in pairs if now._style(row) == before._style(row)}
    assert carried == same and 0 < len(same) < 20


def test_texts_are_judged_anew_and_a_run_without_questions_starts_no_engine(store: Store) -> None:
    report = modify_pipeline.run(store, ModifyConfig(max_chars=300), Progress("modify"))
    assert (report.rows_in, report.rows_out, report.reused) == (20, 20, False)
    usage = store.require("triplets").extra["usage"]
    assert (usage["rows"], usage["carried"]) == (0, 20)


def test_a_pair_is_taken_over_with_its_split_and_category_of_now(store: Store) -> None:
    put(store, "pairs", PAIRS, [pair(0, 1) | {"similarity": 0.5, "split": "train"}], "new")
    modify_pipeline.run(store, ModifyConfig(), Progress("modify"))
    (row,) = store.read("triplets").to_pylist()
    assert (row["split"], row["modification"]) == ("train", "a bit chic")


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.7},
        {"temperature": 0.7, "candidates": 2},
        {"engine": {"max_model_len": 512}},
    ],
)
def test_other_parameters_take_nothing_over(store: Store, change: dict) -> None:
    assert carry_triplets(store, ModifyConfig(**change)) == set()


def test_configs_say_what_is_wrong_with_candidates() -> None:
    with pytest.raises(ValidationError, match=r"candidates 4 needs a temperature above 0, such as 0\.7"):
        ModifyConfig(candidates=4)
    assert ModifyConfig(candidates=4, temperature=0.7).params()["candidates"] == 4
