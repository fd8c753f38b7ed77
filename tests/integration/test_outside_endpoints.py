"""The modify stage asks servers that answer wrongly: failed rows with reasons, and no row stops the stage."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import processes
from tests.outside import endpoints
from tests.outside.case import GIVEN

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
GIVEN_SERVER = GIVEN / "endpoint" / "fake_llm.py"
OF_GIVEN = {
    "length_usage_null": {"too_long": 2},
    "length_short": {"too_long": 2},
    "reasoning_only": {"too_long": 2},
    "content_filter": {"refused": 2},
    "message_null": {"refused": 2},
    "choices_empty": {"engine_error": 2},
    "choices_null": {"engine_error": 2},
    "error_in_200": {"engine_error": 2},
    "content_list": {"ok": 2},
    "usage_ok": {"ok": 2},
    "no_logprobs": {"ok": 2},
}


def test_every_answer_is_a_row_or_stops_the_stage_for_all(tmp_path: Path) -> None:
    seen = endpoints.outcomes(tmp_path)
    wrong = {}
    for mode, expected in endpoints.EXPECTED.items():
        said = seen[mode]
        stops = isinstance(expected, str) and isinstance(said, str) and expected in said
        if said != expected and not stops:
            wrong[mode] = said
    assert not wrong


def test_the_reason_is_the_servers_own(tmp_path: Path) -> None:
    with endpoints.serving() as url:
        rows = endpoints.rows_of(tmp_path / "error", url, "error_in_200")
        cut = endpoints.rows_of(tmp_path / "cut", url, "length_usage_null")
        filtered = endpoints.rows_of(tmp_path / "filter", url, "content_filter")
    assert not isinstance(rows, str) and not isinstance(cut, str) and not isinstance(filtered, str)
    assert {row["error"] for row in rows} == {"the endpoint answered with an error: Provider returned error"}
    assert all(row["raw"] == endpoints.TEXT and row["written_tokens"] is None for row in cut)
    assert all(row["raw"] == endpoints.TEXT and "content filter" in row["error"] for row in filtered)


@pytest.mark.skipif(not GIVEN_SERVER.exists(), reason=f"{GIVEN_SERVER} is not there")
def test_the_given_server(tmp_path: Path) -> None:
    (port,) = processes.free_ports(1)
    server = subprocess.Popen([sys.executable, str(GIVEN_SERVER), str(port)])
    url = f"http://127.0.0.1:{port}/v1"
    try:
        while not _answers(f"{url}/models"):
            assert server.poll() is None
            time.sleep(0.1)
        seen = {mode: endpoints.outcome(tmp_path / mode, url, mode) for mode in OF_GIVEN}
    finally:
        server.kill()
        server.wait()
    assert seen == OF_GIVEN


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
