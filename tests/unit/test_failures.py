"""The failure limit: passed as soon as no rest can help, and a message that says what failed and why."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.errors import StageFailed
from facap.failures import CAUSES, FailureLimit, check_failures
from facap.schemas import CAPTIONS, OK, from_rows
from facap.store import Stage, Store

DOCS = Path(__file__).resolve().parents[2] / "docs"
statuses = st.lists(st.sampled_from([OK, OK, "wrong_category", "too_long"]), max_size=40)


def caption(number: int, status: str) -> dict:
    row = {name: "x" for name in ("item_id", "product_id", "category", "model", "prompt_hash", "params_hash")}
    error = None if status == OK else f"picture {number} is {status}"
    return row | {"image_id": f"i{number:03}", "caption": "a dress", "status": status, "error": error}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Store(str(tmp_path)).stage("captions", CAPTIONS, "k1")


def test_a_stage_within_its_limit_passes_and_one_above_it_names_the_commonest_reasons():
    check_failures("crawl", {"ok": 95, "http_404": 5}, most=0.05)
    with pytest.raises(StageFailed, match=r"crawl: 6 of 100 rows failed \(4 timeout, 2 http_404\).*5%"):
        check_failures("crawl", {"ok": 94, "http_404": 2, "timeout": 4}, most=0.05)


@pytest.mark.parametrize("counts", [{}, {"http_404": 3}, {"ok": 0, "http_404": 3}])
def test_a_stage_without_a_single_good_row_fails_whatever_the_limit(counts: dict[str, int]):
    with pytest.raises(StageFailed):
        check_failures("crawl", counts, most=1.0)


def fails(counts: dict[str, int], most: float, total: int | None = None) -> bool:
    try:
        check_failures("x", counts, most, total)
    except StageFailed:
        return True
    return False


@given(statuses, st.integers(0, 40), st.sampled_from([0.0, 0.05, 0.1, 1 / 3, 0.5, 1.0]))
def test_it_ends_early_just_when_even_a_perfect_rest_would_fail(rows: list[str], rest: int, most: float):
    counts = Counter(rows)
    total = len(rows) + rest
    perfect = counts + Counter({OK: rest})
    assert fails(counts, most, total) == (total > 0 and fails(perfect, most) and len(rows) > counts[OK])


@given(statuses, st.sampled_from([0.0, 0.1, 0.5]))
def test_it_ends_with_the_first_row_that_settles_it(rows: list[str], most: float):
    total = len(rows)
    ended = [n for n in range(total + 1) if fails(Counter(rows[:n]), most, total)]
    settled = [n for n in range(total + 1) if sum(row != OK for row in rows[:n]) > most * total]
    assert ended == settled


def test_one_row_of_one_is_told_as_none():
    with pytest.raises(StageFailed, match="none of 1 rows succeeded"):
        check_failures("x", {"empty": 1}, 0.5, total=1)
    check_failures("x", {"empty": 1}, 0.5, total=2)


def test_an_example_names_addresses_by_host_and_path(stage: Stage):
    bad = caption(1, "too_long") | {"error": "redirect from https://b.example/a.jpg?sig=SECRET: no"}
    stage.write(from_rows([bad], CAPTIONS))
    with pytest.raises(StageFailed, match=r"from https://b\.example/a\.jpg: no \(too_long\)") as error:
        check_failures("caption", stage.statuses(), 0.0, stage=stage)
    assert "SECRET" not in str(error.value)


def test_the_message_has_reasons_examples_and_the_likely_cause(stage: Stage):
    stage.write(from_rows([caption(n, "wrong_category") for n in range(30)], CAPTIONS))
    stage.write(from_rows([caption(n, "too_long") for n in range(30, 34)], CAPTIONS))
    stage.write(from_rows([caption(n, OK) for n in range(34, 100)], CAPTIONS))
    FailureLimit("caption", stage, 0.05, total=880)(stage.statuses())  # 34 are less than 5 % of them
    with pytest.raises(StageFailed) as error:
        FailureLimit("caption", stage, 0.05, total=600)(stage.statuses())
    text = str(error.value)
    for words in (
        "caption: 34 of 600 rows failed (30 wrong_category, 4 too_long)",
        "the 5% that max_failure_rate allows, so the stage ended after 100 rows",
        "rows that succeeded are kept",
        "i000: picture 0 is wrong_category (wrong_category)",
        "i030: picture 30 is too_long (too_long)",
        "Likely cause: the model does not know such pictures",
    ):
        assert words in text, text
    assert text.count("picture ") == 3


def test_no_cause_is_named_where_no_reason_has_most_of_the_failures():
    with pytest.raises(StageFailed) as error:
        check_failures("crawl", {"ok": 1, "http_403": 2, "http_404": 2}, 0.1)
    assert "Likely" not in str(error.value)
    with pytest.raises(StageFailed, match="Likely cause: the site refuses"):
        check_failures("crawl", {"ok": 1, "http_403": 3, "http_404": 2}, 0.1)


def test_rows_that_are_asked_again_do_not_count_yet(stage: Stage):
    stage.write(from_rows([caption(n, "too_long") for n in range(9)], CAPTIONS))
    FailureLimit("caption", stage, 0.1, 10, passing=("too_long",))(stage.statuses())
    with pytest.raises(StageFailed, match="9 of 10 rows failed"):
        FailureLimit("caption", stage, 0.1, 10)(stage.statuses())


def test_a_row_that_was_counted_twice_ends_nothing(stage: Stage):
    stage.write(from_rows([caption(1, "too_long"), caption(2, OK)], CAPTIONS))
    limit = FailureLimit("caption", stage, 0.1, 10)
    assert limit.passed({"too_long": 2})
    limit({"too_long": 2})
    stage.write(from_rows([caption(3, "too_long"), caption(2, "too_long")], CAPTIONS))
    with pytest.raises(StageFailed, match="2 of 10 rows failed"):
        limit({"too_long": 3})


def test_every_status_with_a_cause_is_one_that_the_docs_explain():
    pages = [page.read_text() for page in DOCS.glob("*.md")]
    explained = {word for text in pages for word in re.findall(r"`([a-z_]+)`", text)}
    assert {status for status in CAUSES if not status.startswith("http_")} <= explained
