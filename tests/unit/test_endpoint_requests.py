"""What a server is sent, and the settings that name it; a real one is asked in tests/integration."""

import base64
import io
import json
import pickle

import PIL.Image
import pytest
from pydantic import ValidationError

from facap.annotate import caption_pipeline, engine, modify_pipeline
from facap.annotate.config import CaptionConfig, EndpointConfig, EngineConfig, ModifyConfig
from facap.annotate.endpoint import _Compose, _Key
from facap.annotate.origin import Origin
from tests.annotation import image_row, told

SERVER = EndpointConfig(url="https://vlm.example/v1")


def composed(config: CaptionConfig | ModifyConfig, row: dict, with_image: bool) -> dict:
    pipeline = caption_pipeline if with_image else modify_pipeline
    ask = pipeline._Ask(config, Origin(config).prompts)
    prepare = engine._Prepare(ask, config.sampling_params(), config.chat, with_image)
    return _Compose(config)(prepare(row))


def test_a_picture_goes_along_to_the_last_pixel() -> None:
    config = CaptionConfig(model="vlm", chat=True, output="attributes", endpoint=SERVER)
    row = composed(config, image_row(0), with_image=True)
    assert set(row) >= {"keep", "body"} and "multimodal_data" not in row and "messages" not in row
    body = json.loads(row["body"])
    picture, text = body["messages"][0]["content"]
    head, _, data = picture["image_url"]["url"].partition(",")
    image = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == "data:image/png;base64" and image.size == (128, 128)
    assert text == {"type": "text", "text": "a picture of"}
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("vlm", 64, 0.0, 0)
    assert body["logprobs"] is True  # as chats have it; completions take a number
    assert body["response_format"]["json_schema"]["schema"]["required"][-1] == "caption"


def test_a_text_is_asked_for_as_it_is() -> None:
    pair = {"reference_id": "a", "target_id": "b", "category": "top", "split": "val"}
    asked = pair | told("a red top", "a navy top")
    body = json.loads(composed(ModifyConfig(model="llm", endpoint=SERVER), dict(asked), False)["body"])
    assert body["prompt"].startswith("reference : a red top target : a navy top") and "messages" not in body
    chat = ModifyConfig(model="llm", chat=True, template="modify_fashion", endpoint=SERVER)
    body = json.loads(composed(chat, dict(asked), False)["body"])
    assert body["messages"][0]["content"].startswith("A shopper") and "prompt" not in body


def test_a_broken_picture_is_not_sent() -> None:
    config = CaptionConfig(model="vlm", chat=True, endpoint=SERVER)
    row = composed(config, image_row(0, bytes=b"no"), with_image=True)
    silent = composed(config.model_copy(update={"confidence": False}), image_row(0), with_image=True)
    assert "logprobs" not in json.loads(silent["body"])
    assert row["body"] == "" and row["status"] == "undecodable"


def test_the_key_is_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "open-sesame")
    key = _Key("SHOP_KEY")
    assert "open-sesame" not in f"{key!r} {key}" and pickle.loads(pickle.dumps(key)).value == "open-sesame"
    config = CaptionConfig(
        model="m", chat=True, endpoint=EndpointConfig(url="http://h/v1", api_key_variable="SHOP_KEY")
    )
    assert "open-sesame" not in config.model_dump_json() + repr(config)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("vlm.example/v1", "should begin with http"),
        ("ftp://ann:secret@vlm.example/v1", "holds a user name or password, which logs"),
        ("ftp://h/v1", "should begin"),
        ("https://me:pw@h/v1", "logs"),
    ],
)
def test_addresses_that_cannot_be_meant(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EndpointConfig(url=url)


def test_captions_need_a_chat() -> None:
    with pytest.raises(ValidationError, match=r"endpoint\.url needs chat true"):
        CaptionConfig(model="m", endpoint=SERVER)


def test_where_a_server_is_changes_no_answer_but_what_it_runs_does() -> None:
    def key(**changes: object) -> str:
        endpoint = SERVER.model_copy(update=changes)
        return modify_pipeline.key(ModifyConfig(model="llm", endpoint=endpoint), "p", "c")

    assert key() == key(url="http://10.0.0.7:8000/v1", max_requests=4, timeout_s=3.0)
    assert key() != key(revision="2026-11")
    assert Origin(ModifyConfig(model="llm", endpoint=SERVER)).model == "llm@endpoint"
    own = ModifyConfig(model="llm", endpoint=SERVER, engine=EngineConfig(dtype="bfloat16"))
    assert modify_pipeline.key(own, "p", "c") == key()
