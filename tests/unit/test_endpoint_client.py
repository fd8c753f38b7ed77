"""The client that asks a server, against one that answers wrongly: no row stops the others; some stop all."""

import asyncio
import json

import pyarrow as pa
import pytest

from facap.annotate.config import EndpointConfig, ModifyConfig
from facap.annotate.endpoint import FAILURE, FINISH_REASON, _Client, _Key, check
from facap.errors import ConfigError, StageFailed
from tests import processes
from tests.outside import endpoints
from tests.outside.endpoints import EXPECTED, FAILED

ROWS = [mode for mode, expected in EXPECTED.items() if not isinstance(expected, str)]


def ask(url: str, modes: list[str], about: str = "navy") -> list[dict]:
    """The client's columns for a row that each of the models is asked about."""
    messages = [{"role": "user", "content": about}]
    bodies = [json.dumps({"model": mode, "messages": messages}) for mode in modes]
    batch = pa.table({"body": bodies, FAILURE: [""] * len(modes), "mode": modes})
    endpoint = EndpointConfig(url=url, attempts=2, timeout_s=20, api_key_variable="NO_KEY_IS_NEEDED")
    client = _Client(endpoint, _Key(endpoint.api_key_variable))

    async def once() -> pa.Table:
        try:
            return await client(batch)
        finally:
            assert client.client is not None
            await client.client.close()

    return asyncio.run(once()).to_pylist()


def test_no_row_stops_the_others() -> None:
    with endpoints.serving() as url:
        rows = ask(url, ROWS)
    assert [row["mode"] for row in rows] == ROWS
    assert {row["mode"] for row in rows if row[FAILURE]} == {m for m in ROWS if EXPECTED[m] == FAILED}
    ended = {row["mode"]: row[FINISH_REASON] for row in rows if row[FINISH_REASON]}
    status = {"length": {"too_long": 2}, "content_filter": {"refused": 2}}
    assert all(EXPECTED[mode] == status[reason] for mode, reason in ended.items()) and len(ended) >= 6
    whole = [row["generated_text"] for row in rows if EXPECTED[row["mode"]] == {"ok": 2}]
    assert len(whole) >= 8 and all(text.startswith(endpoints.TEXT) for text in whole)
    assert all(len(row[FAILURE]) <= 400 for row in rows)


def test_a_row_that_breaks_the_server_is_one_row() -> None:
    with endpoints.serving() as url:
        with pytest.raises(StageFailed, match="500"):
            ask(url, ["status_500_for_one"], about="green")
        rows = ask(url, ["status_500_for_one", *["whole"] * 4], about="green")
    assert [bool(row[FAILURE]) for row in rows] == [True, False, False, False, False]


@pytest.mark.parametrize("mode", [mode for mode in EXPECTED if mode not in ROWS])
def test_what_is_refused_to_all_stops_the_stage(mode: str) -> None:
    with endpoints.serving() as url, pytest.raises(StageFailed, match=str(EXPECTED[mode])):
        ask(url, [mode, mode])


def test_a_server_that_is_gone_stops_the_stage() -> None:
    (port,) = processes.free_ports(1)
    with pytest.raises(StageFailed, match="does not answer"):
        ask(f"http://127.0.0.1:{port}/v1", ["whole"])


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (b"<html>hello</html>", "should list its models as JSON"),
        (b'{"data": null}', None),
        (b'{"data": [{"name": "x"}]}', None),
        (b"[]", None),
        (b'{"data": [{"id": "other"}]}', "has no model 'llm'; it has other"),
    ],
)
def test_lists_of_models(listed: bytes, said: str | None) -> None:
    with endpoints.serving(models=listed) as url:
        config = ModifyConfig(model="llm", endpoint=EndpointConfig(url=url))
        if said is None:
            check(config)
        else:
            with pytest.raises(ConfigError, match=said):
                check(config)
