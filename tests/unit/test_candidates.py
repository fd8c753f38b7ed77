"""Several texts for one pair: how often a pair is asked, and which answer is its row."""

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.annotate import engine, modify_pipeline
from facap.annotate.candidates import Copies, best
from facap.annotate.config import EngineConfig, ModifyConfig
from facap.annotate.origin import Origin
from facap.schemas import OK
from tests.annotation import told

PAIR = {"reference_id": "a", "target_id": "b", "category": "top", "split": "val"}
CAPTIONS = told("a red top", "a navy top")

rows = st.lists(
    st.fixed_dictionaries(
        {
            "reference_id": st.sampled_from("ab"),
            "target_id": st.sampled_from("cd"),
            "status": st.sampled_from([OK, "empty", "engine_error"]),
            "quality": st.sampled_from([0.5, 0.75, 1.0]),
            "modification": st.sampled_from(["make it navy", "navy", "please make it navy"]),
            "prompt_tokens": st.none() | st.integers(0, 99),
            "written_tokens": st.none() | st.integers(0, 99),
        }
    ).map(lambda row: row if row["status"] == OK else row | dict.fromkeys(("quality", "modification"), None)),
    max_size=12,
)


@given(rows)
def test_one_row_a_pair_and_none_of_the_others_is_better(candidates: list[dict[str, Any]]) -> None:
    chosen = best(candidates)
    pairs = {(row["reference_id"], row["target_id"]) for row in candidates}
    assert len(chosen) == len(pairs)
    for row in chosen:
        others = [c for c in candidates if all(c[k] == row[k] for k in ("reference_id", "target_id"))]
        good = [c for c in others if c["status"] == OK]
        assert (row["status"] == OK) == bool(good)
        if good:
            assert row["quality"] == max(c["quality"] for c in good)
            shortest = min(len(c["modification"].split()) for c in good if c["quality"] == row["quality"])
            assert len(row["modification"].split()) == shortest
        for name in ("prompt_tokens", "written_tokens"):
            counts = [c[name] for c in others if c[name] is not None]
            assert row[name] == (sum(counts) if counts else None)


def test_of_equals_the_first_is_kept() -> None:
    first, second = ({**PAIR, "status": "empty", "raw": raw} for raw in ("x", "y"))
    tokens = {"prompt_tokens": 1, "written_tokens": 1}
    assert best([first | tokens, second | tokens])[0]["raw"] == "x"


@pytest.mark.parametrize("number", [1, 3, 5])
def test_copies_follow_one_another_and_each_has_a_seed(number: int) -> None:
    config = ModifyConfig(candidates=number, temperature=0.7)
    pairs = [PAIR | CAPTIONS | {"target_id": f"{n}"} for n in range(4)]
    ask = modify_pipeline._Ask(config, Origin(config).prompts)
    prepare = engine._Prepare(ask, config.sampling_params(), False, False)
    prepared = [prepare(copy) for pair in pairs for copy in Copies(number)(pair)]
    assert [row["sampling_params"]["seed"] for row in prepared] == [*range(number)] * len(pairs)
    assert all(row["sampling_params"]["temperature"] == 0.7 for row in prepared)
    together = [list(group) for _, group in itertools.groupby(row["keep"]["target_id"] for row in prepared)]
    assert [len(group) for group in together] == [number] * len(pairs)


@pytest.mark.parametrize(("batch_size", "number", "rounded"), [(64, 1, 64), (64, 3, 66), (8, 16, 16)])
def test_a_batch_holds_whole_pairs(batch_size: int, number: int, rounded: int) -> None:
    config = ModifyConfig(engine=EngineConfig(batch_size=batch_size))
    assert engine.rows_at_a_time(config, number) == rounded


def test_the_best_answer_becomes_the_row() -> None:
    config = ModifyConfig(candidates=3, temperature=0.7)
    judge = modify_pipeline._Judge(config, Origin(config))
    answer = PAIR | CAPTIONS | {"rendered_hash": "h", "prompt_tokens": 9, "written_tokens": 5}
    answer |= {"cut_off": False, "failure": None, "error": None}
    texts = ["the target image is navy", "a better colour would be good", "make it navy"]
    (row,) = judge(pa.Table.from_pylist([answer | {"raw": text} for text in texts])).to_pylist()
    assert (row["modification"], row["status"], row["quality"]) == ("make it navy", OK, 1.0)
    assert (row["prompt_tokens"], row["written_tokens"], row["raw"]) == (27, 15, "make it navy")
