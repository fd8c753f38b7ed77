"""Asking again for answers of no use: which rows, with what prompt, and how it ends; no engine runs here."""

from pathlib import Path
from typing import Any

import pytest

from facap.annotate import cache, engine, modify_pipeline, prompts, repair
from facap.annotate.config import CaptionConfig, ModifyConfig
from facap.annotate.engine import Refusal, Request
from facap.annotate.origin import Origin, rendered_hash, repaired_hash
from facap.annotate.repair import Again
from facap.progress import Progress
from facap.schemas import OK, TRIPLETS, from_rows
from facap.store import Stage, Store
from tests.annotation import told

CONFIG = ModifyConfig(retries=2)
IDS = ("reference_id", "target_id")
TEXT = "the target image is navy"
FAULT = "the text says 'the target image'"


def row(number: int, status: str, raw: str | None = TEXT, **more: Any) -> dict[str, Any]:
    ids = {"reference_id": f"r{number}", "target_id": f"t{number}", "category": "top", "split": "val"}
    made = {"model": "m", "prompt_hash": "p", "params_hash": "q", "error": None if status == OK else FAULT}
    return ids | made | {"status": status, "raw": raw, "prompt_tokens": 9, "written_tokens": 5} | more


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Store(str(tmp_path)).stage("triplets", TRIPLETS, "key")
    rows = [row(n, status) for n, status in enumerate((OK, *repair.FAULTS))]
    refused = [
        row(10, "identical", raw=None),
        row(11, "engine_error", raw=None),
        row(12, "caption_missing", None),
    ]
    stage.write(from_rows(rows[:3], TRIPLETS))
    stage.write(from_rows([*rows[3:], *refused], TRIPLETS))
    return stage


def statuses(stage: Stage) -> dict[str, str]:
    return {row["reference_id"]: row["status"] for row in stage.read().to_pylist()}


def test_rows_of_no_use_leave_the_stage_and_the_others_stay(stage: Stage) -> None:
    failed = repair.take_failed(stage)
    assert sorted(row["status"] for row in failed) == sorted(repair.FAULTS)
    assert statuses(stage) == {"r0": OK, "r10": "identical", "r11": "engine_error", "r12": "caption_missing"}
    assert repair.take_failed(stage) == []


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_what_stays_of_no_use_is_asked_a_bounded_number_of_times(
    stage: Stage, retries: int, capsys: pytest.CaptureFixture
) -> None:
    config = ModifyConfig(retries=retries)
    asked = []
    for _, failed in repair.rounds(stage, config, Progress("modify")):
        asked.append(len(failed))
        good = failed.pop() | {"status": OK, "error": None, "modification": "make it navy"}
        stage.write(from_rows([*failed, good], TRIPLETS))
    number = len(repair.FAULTS)
    assert asked == [number, number - 1, number - 2][:retries]
    assert list(statuses(stage).values()).count(OK) == 1 + retries and len(statuses(stage)) == number + 4
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == retries and all(f"of at most {retries}" in line for line in lines)


def test_no_round_is_begun_when_all_is_well(tmp_path: Path) -> None:
    stage = Store(str(tmp_path)).stage("triplets", TRIPLETS, "key")
    stage.write(from_rows([row(1, OK), row(2, "engine_error", raw=None)], TRIPLETS))
    assert list(repair.rounds(stage, CONFIG, Progress("modify"))) == []


@pytest.mark.parametrize("template", ["repair_fashion", "repair_plain"])
def test_the_prompt_shows_the_answer_and_names_its_fault(template: str) -> None:
    config = ModifyConfig(retries=1, repair=template)
    asks = Again(lambda row: Request(dict(row), "write it"), config, [row(1, "forbidden_phrase")], IDS)
    made = asks({"reference_id": "r1", "target_id": "t1"})
    assert isinstance(made, Request)
    for shown in ("write it", TEXT, FAULT):
        assert shown in made.prompt
    assert made.spent == (9, 5)
    assert made.rendered_hash == repaired_hash(rendered_hash("write it"), prompts.load(template).hash)
    empty = Again(lambda row: Request(dict(row), "write it"), config, [row(1, "empty", raw="")], IDS)
    assert "write it" in empty({"reference_id": "r1", "target_id": "t1"}).prompt


def test_a_loop_is_shown_by_its_beginning() -> None:
    again = Again(lambda row: Request(row, "x"), CONFIG, [row(1, "unparsable", raw="navy " * 2000)], IDS)
    assert len(again({"reference_id": "r1", "target_id": "t1"}).prompt) < 2 * repair.SHOWN_CHARS


def test_a_refusal_stays_one() -> None:
    refusal = Refusal({}, "undecodable", "no picture")
    again = Again(lambda row: refusal, CaptionConfig(retries=1), [row(1, "empty")], IDS)
    assert again({"reference_id": "r1", "target_id": "t1"}) is refusal


def test_the_tokens_of_earlier_answers_count_for_the_row() -> None:
    again = Again(lambda row: Request(dict(row), "x"), CONFIG, [row(1, "empty")], IDS)
    prepare = engine._Prepare(again, CONFIG.sampling_params(), False, False)
    prepared = prepare({"reference_id": "r1", "target_id": "t1"})
    answered = {"generated_text": "make it navy", "num_input_tokens": 20, "num_generated_tokens": 4}
    answer = engine._Answer(max_tokens=8)(prepared | answered)
    assert (answer["prompt_tokens"], answer["written_tokens"], answer["cut_off"]) == (29, 9, False)
    assert answer["rendered_hash"] == repaired_hash(rendered_hash("x"), prompts.load(CONFIG.repair).hash)
    refused = engine._Answer(max_tokens=8)(prepared | {engine.FAILURE: "ValueError: too long"})
    assert (refused["prompt_tokens"], refused["written_tokens"], refused["raw"]) == (9, 5, None)


@pytest.mark.parametrize(
    ("now", "serves"),
    [
        ({"retries": 2}, True),
        ({"retries": 1, "max_chars": 200}, True),
        ({"retries": 0}, False),
        ({"retries": 2, "repair": "repair_fashion"}, False),
    ],
)
def test_a_repaired_answer_serves_again_if_the_repair_prompt_is_the_same(
    tmp_path: Path, now: dict, serves: bool
) -> None:
    store, config = Store(str(tmp_path)), ModifyConfig(**now)
    pair = {"reference_id": "r", "target_id": "t", "category": "top", "split": "val"}
    pair |= told("a red top", "a navy top")
    first = rendered_hash(modify_pipeline._Ask(CONFIG, Origin(CONFIG).prompts).prompt(pair))
    answer = pair | {"raw": "make it navy", "prompt_tokens": 9, "written_tokens": 5, "cut_off": False}
    answer |= {"failure": None, "error": None}
    answer |= {"rendered_hash": repaired_hash(first, prompts.load(CONFIG.repair).hash)}
    before = store.stage("triplets", TRIPLETS, "before")
    before.write(from_rows([modify_pipeline._Judge(CONFIG, Origin(CONFIG)).row(answer)], TRIPLETS))
    before.commit(config={}, inputs={})

    origin = Origin(config)
    wanted = modify_pipeline._Wanted([pair], modify_pipeline._Ask(config, origin.prompts))
    stage = store.stage("triplets", TRIPLETS, "now")
    carried = cache.carry_over(store, stage, origin, wanted, modify_pipeline._Judge(config, origin).row)
    assert carried == serves


def test_the_key_knows_the_repair_prompt_only_if_it_is_used() -> None:
    def key(**change: Any) -> str:
        return modify_pipeline.key(ModifyConfig(**change), "p", "c")

    assert key(repair="repair_fashion") == key()
    assert len({key(), key(retries=1), key(retries=2), key(retries=1, repair="repair_fashion")}) == 4
