"""The real vLLM's OpenAI-compatible server with the tiny captioner, which tests of annotation share.

Stages start quickly with it, and one start serves many tests: those of FILES run on one worker. It was
not trained for texts that say what changes, and writes them as nonsense.
"""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from facap.annotate.config import CaptionConfig, EndpointConfig, ModifyConfig
from facap.annotate.engine import environment
from facap.model import checkpoints
from tests.ports import free_ports
from tests.processes import kill_everything, wait_until

FILES = (
    "test_annotate.py",
    "test_annotated_study.py",
    "test_answers.py",
    "test_endpoint.py",
    "test_reannotation.py",
    "test_server_faults.py",
)  # in this order, which is that of their names
NAME, KEY, VARIABLE = "tiny", "open-sesame", "SHOP_API_KEY"
PROMPT_ONLY = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass
class Server:
    process: subprocess.Popen
    url: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """vLLM's own server with the tiny captioner, which wants KEY."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "chat.jinja").write_text(PROMPT_ONLY)
    (port,) = free_ports(1)
    flags = {
        "model": checkpoints.resolve("facap/tiny-captioner"),
        "served-model-name": NAME,
        "host": "127.0.0.1",
        "port": port,
        "dtype": "float32",
        "chat-template": folder / "chat.jinja",
        "chat-template-content-format": "string",
        "max-num-seqs": 64,
        "structured-outputs-config": '{"backend": "guidance", "disable_any_whitespace": true}',
    }
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    variables = environment(CaptionConfig()) | {"VLLM_API_KEY": KEY}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, "--enforce-eager"],
            stdout=log,
            stderr=log,
            env=os.environ | variables,
        )
    try:
        health = f"http://127.0.0.1:{port}/health"
        wait_until(lambda: _healthy(health), process, folder / "server.log", every_s=0.2)
        yield Server(process, f"http://127.0.0.1:{port}/v1")
    finally:
        if process.poll() is None:
            kill_everything(process)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def asked_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, and its key where jobs look for it."""
    monkeypatch.setenv(VARIABLE, KEY)
    return server


def asked(server: Server, **changes: object) -> EndpointConfig:
    """The server as a setting."""
    return EndpointConfig(url=server.url, api_key_variable=VARIABLE, attempts=2, max_requests=16, **changes)


def captions_of(server: Server, **changes: object) -> CaptionConfig:
    """Captions by the server; whatever it answers is good enough."""
    settings = {"model": NAME, "chat": True, "max_failure_rate": 1.0, "check_category": False}
    return CaptionConfig(**settings | {"endpoint": asked(server)} | changes)


def texts_of(server: Server, **changes: object) -> ModifyConfig:
    """Modification texts by the server; whatever it answers is good enough."""
    settings = {"model": NAME, "max_failure_rate": 1.0, "endpoint": asked(server)} | changes
    return ModifyConfig(**settings)
