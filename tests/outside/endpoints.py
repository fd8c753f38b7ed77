"""A server that answers as public ones do when something is wrong, and what the modify stage makes of it.

    >>> outcomes(folder)["html"]                                     # doctest: +SKIP
    {'engine_error': 2}

No CASES: every mode is a run of the stage with Ray. tests/integration/test_outside_endpoints.py holds
`outcomes` against EXPECTED.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from facap.annotate import modify_pipeline
from facap.annotate.config import EndpointConfig, ModifyConfig
from facap.errors import StageFailed
from facap.progress import Progress
from facap.schemas import CAPTIONS, PAIRS, TRIPLETS, from_rows
from facap.store import Store
from tests.annotation import caption_row, put

TEXT = "Make it red with short sleeves."
USAGE = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
STOPPED = "stopped: "
FAILED = {"engine_error": 2}
# What becomes of two pairs; of a stage that stops, what its one sentence has in it.
EXPECTED: dict[str, dict[str, int] | str] = {
    "whole": {"ok": 2},
    "content_parts": {"ok": 2},
    "no_usage": {"ok": 2},
    "usage_null": {"ok": 2},
    "usage_of_text": {"ok": 2},
    "no_finish_reason": {"ok": 2},
    "half_a_surrogate": {"ok": 2},
    "reasoning_beside_it": {"ok": 2},
    "length": {"too_long": 2},
    "length_usage_null": {"too_long": 2},
    "only_reasoning_cut": {"too_long": 2},
    "content_filter": {"refused": 2},
    "filtered_message_null": {"refused": 2},
    "refusal_field": {"refused": 2},
    "only_reasoning": {"empty": 2},
    "content_null": {"empty": 2},
    "choices_empty": FAILED,
    "choices_null": FAILED,
    "choice_null": FAILED,
    "message_null": FAILED,
    "error_in_200": FAILED,
    "error_in_choice": FAILED,
    "html": FAILED,
    "broken_json": FAILED,
    "list": FAILED,
    "empty_body": FAILED,
    "breaks_off": FAILED,
    "hangs_up": FAILED,
    "too_large": FAILED,
    "packed": FAILED,
    "status_400": FAILED,
    "status_451": FAILED,
    "status_500_for_one": {"ok": 1, "engine_error": 1},
    "status_401": "401",
    "status_403": "403",
    "status_404": "404",
    "status_429": "429",
    "status_500": "500",
}


MODELS = json.dumps({"object": "list", "data": [{"id": mode} for mode in EXPECTED]}).encode()


def reply(mode: str) -> dict[str, Any]:
    """The JSON of an answer with status 200."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    whole: dict[str, Any] = {"object": "chat.completion", "choices": [choice], "usage": USAGE}
    reasoning = message | {"content": None, "reasoning_content": "navy to red ..."}
    changes: dict[str, dict[str, Any]] = {
        "content_parts": {"message": message | {"content": [{"type": "text", "text": TEXT}]}},
        "no_finish_reason": {"finish_reason": None},
        "half_a_surrogate": {"message": message | {"content": TEXT + " \ud83d"}},
        "reasoning_beside_it": {"message": message | {"reasoning_content": "navy to red ..."}},
        "length": {"finish_reason": "length"},
        "length_usage_null": {"finish_reason": "length"},
        "only_reasoning_cut": {"finish_reason": "length", "message": reasoning},
        "only_reasoning": {"message": reasoning},
        "content_null": {"message": message | {"content": None}},
        "content_filter": {"finish_reason": "content_filter"},
        "filtered_message_null": {"finish_reason": "content_filter", "message": None},
        "refusal_field": {"message": message | {"content": None, "refusal": "This shows a person."}},
        "message_null": {"message": None},
        "error_in_choice": {"error": {"code": 502, "message": "Provider returned error"}},
    }
    choice |= changes.get(mode, {})
    instead: dict[str, dict[str, Any]] = {
        "choices_empty": whole | {"choices": []},
        "choices_null": whole | {"choices": None},
        "choice_null": whole | {"choices": [None]},
        "no_usage": {"choices": [choice]},
        "usage_null": whole | {"usage": None},
        "length_usage_null": whole | {"usage": None},
        "usage_of_text": whole | {"usage": {"prompt_tokens": "ten", "completion_tokens": 10**40}},
        "error_in_200": {"error": {"message": "Provider returned error", "code": 502}},
    }
    return instead.get(mode, whole)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        self.say(200, self.server.models)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        mode = json.loads(body)["model"]
        if mode.startswith("status_"):
            status = int(mode.split("_")[1])
            if not mode.endswith("_for_one") or "green" in body:
                self.say(status, json.dumps({"error": {"message": f"no: {status}"}}).encode())
                return
        given = {
            "html": b"<!doctype html><html><body>502 Bad Gateway</body></html>",
            "broken_json": b'{"choices": [{"message": {"content": "Make it',
            "list": b"[1, 2]",
            "empty_body": b"",
        }
        data = given.get(mode, json.dumps(reply(mode)).encode())
        if mode == "hangs_up":
            self.close_connection = True
        elif mode == "breaks_off":
            self.say(200, data, length=len(data) + 100)
            self.close_connection = True
        elif mode == "too_large":
            self.say(200, b'{"choices": "' + b"a" * (17 * 2**20) + b'"}')
        else:
            self.say(200, data, packed="br" if mode == "packed" else "")

    def say(self, status: int, data: bytes, length: int | None = None, packed: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length or len(data)))
        if packed:
            self.send_header("Content-Encoding", packed)
        self.end_headers()
        try:
            self.wfile.write(data)
        except ConnectionError:  # the client has had enough
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    models: bytes

    def handle_error(self, *args: object) -> None:
        """Says nothing of connections that a client has closed."""


@contextmanager
def serving(models: bytes = MODELS) -> Iterator[str]:
    """The server's address, up to its /v1. `models`: what it says that it has."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.models = models
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def outcomes(folder: Path, modes: Iterable[str] = tuple(EXPECTED)) -> dict[str, dict[str, int] | str]:
    """Mode -> how many of the two pairs have which status, or STOPPED and why. Needs Ray, or starts it."""
    with serving() as url:
        return {mode: outcome(folder / mode, url, mode) for mode in modes}


def outcome(folder: Path, url: str, model: str) -> dict[str, int] | str:
    """What the stage makes of two pairs that this model of a server is asked about."""
    rows = rows_of(folder, url, model)
    return rows if isinstance(rows, str) else dict(Counter(row["status"] for row in rows))


def rows_of(folder: Path, url: str, model: str) -> list[dict[str, Any]] | str:
    """The rows of the two pairs, or STOPPED and why."""
    store = Store(str(folder))
    sleeves = {1: "a navy cotton dress with long sleeves", 2: "a red cotton dress with short sleeves"}
    captions = sleeves | {3: "a green cotton dress with long sleeves", 4: "a navy cotton dress"}
    put(store, "captions", CAPTIONS, [caption_row(number, text) for number, text in captions.items()])
    pair = {"category": "dress", "split": "train", "target_id": f"{2:032x}"}
    pairs = [pair | {"reference_id": f"{number:032x}"} for number in (1, 3, 4)]
    put(store, "pairs", PAIRS, [pair | {"similarity": 0.5} for pair in pairs])
    endpoint = EndpointConfig(url=url, attempts=2, timeout_s=20, api_key_variable="NO_KEY_IS_NEEDED")
    config = ModifyConfig(model=model, chat=True, max_failure_rate=1.0, endpoint=endpoint)
    inputs = {name: store.fingerprint(name) for name in ("pairs", "captions")}
    stage = store.stage("triplets", TRIPLETS, modify_pipeline.key(config, **inputs))
    made = {
        "model": "m",
        "prompt_hash": "p",
        "params_hash": "p",
        "modification": "make it red",
        "status": "ok",
    }
    stage.write(from_rows([pairs[2] | made], TRIPLETS))  # else nothing is committed where both fail
    try:
        modify_pipeline.run(store, config, Progress("modify"))
    except StageFailed as error:
        return STOPPED + str(error)
    rows = store.read("triplets").to_pylist()
    return [row for row in rows if row["reference_id"] != pairs[2]["reference_id"]]
