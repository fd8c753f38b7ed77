"""Inputs of other people's making, each with the right result; the cases are in tests/outside."""

from pathlib import Path

import pytest

from tests.outside.case import GIVEN, Case
from tests.outside.everything import all_cases


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_outside(case: Case, tmp_path: Path):
    if not case.there:
        pytest.skip(f"{GIVEN / case.given} is not there: given inputs are not part of the repository")
    assert case.seen(tmp_path) == case.expected
