"""What reaches the service from outside: every bad request gets its status and a helpful message."""

import io
import json
import socket
from typing import Any

import PIL.Image
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.errors import ConfigError, ResourceError
from serve_app.config import ServeArgs, ServeConfig
from serve_app.deploy import check_port, fill_in, url
from serve_app.pictures import Catalogue
from serve_app.query import ClientError, from_fields, from_json, picture

ARGS = ServeArgs(workspace="w", model_folder="m", model_version="1", index_folder="i")
ID = "0123456789abcdef0123456789abcdef"


def encoded(kind: str, size: tuple[int, int] = (60, 80), **options: Any) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", size, "navy").save(out, kind, **options)
    return out.getvalue()


def test_a_good_request() -> None:
    body = {"reference_id": ID, "text": "  make it\nred ", "k": 7, "category": "dress"}
    query = from_json(json.dumps(body).encode(), ARGS)
    assert (query.reference_id, query.text, query.k, query.category) == (ID, "make it red", 7, "dress")
    assert from_json(json.dumps({"reference_id": ID, "text": "red"}).encode(), ARGS).k == 20
    form = from_fields({"text": "in red", "k": "3", "category": ""}, ARGS)
    assert (form.reference_id, form.k, form.category) == (None, 3, None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON list"),
        (b'{"text": "red"}', "reference_id is missing"),
        ({"reference_id": "../../etc/passwd", "text": "red"}, "malformed"),
        ({"reference_id": ID.upper(), "text": "red"}, "malformed"),
        ({"reference_id": ID + "\n", "text": "red"}, "malformed"),
        ({"reference_id": 5, "text": "red"}, "malformed"),
        ({"reference_id": ID}, "text is missing"),
        ({"reference_id": ID, "text": 5}, "not a string"),
        ({"reference_id": ID, "text": " \n\x00 "}, "empty"),
        ({"reference_id": ID, "text": "a" * 501}, "501 characters"),
        ({"reference_id": ID, "text": "\ud800"}, "not valid Unicode"),
        ({"reference_id": ID, "text": "red", "k": 0}, "k is out of range"),
        ({"reference_id": ID, "text": "red", "k": 101}, "k is out of range"),
        ({"reference_id": ID, "text": "red", "k": True}, "k is out of range"),
        ({"reference_id": ID, "text": "red", "k": 2.5}, "k is out of range"),
        ({"reference_id": ID, "text": "red", "k": "٣"}, "k is out of range"),
        ({"reference_id": ID, "text": "red", "category": "hats"}, "unknown category"),
        ({"reference_id": ID, "text": "red", "category": ["dress"]}, "unknown category"),
        ({"reference_id": ID, "text": "red", "limit": 5}, "unknown field 'limit'"),
    ],
)
def test_bad_requests_are_400_and_say_what_was_expected(body: bytes | dict, said: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ClientError) as caught:
        from_json(raw, ARGS)
    assert caught.value.status == 400
    assert said in caught.value.message
    assert caught.value.expected


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["reference_id", "text", "k", "category", "x"]), inner, max_size=5),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_body_is_a_query_or_a_client_error(body: bytes) -> None:
    try:
        query = from_json(body, ARGS)
    except ClientError:
        return
    assert 1 <= query.k <= 100 and 1 <= len(query.text) <= 500


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_uploads_of_the_known_kinds_become_jpeg(kind: str) -> None:
    made = PIL.Image.open(io.BytesIO(picture(encoded(kind, (1200, 900)), ARGS)))
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (512, 384))


def test_an_upload_is_turned_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    assert PIL.Image.open(io.BytesIO(picture(encoded("JPEG", (80, 60), exif=exif), ARGS))).size == (60, 80)


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"<svg onload=alert(1)>", 415, "not a picture of a known kind"),
        (b"GIF89a", 415, "not a picture of a known kind"),
        (encoded("BMP"), 415, "not a picture of a known kind"),  # Pillow could, we do not
        (encoded("JPEG", (600, 600))[:900], 400, "cut off"),
        (encoded("PNG", (7000, 6000)), 413, "more than 40,000,000 pixels"),
    ],
)
def test_bad_uploads_get_their_status(data: bytes, status: int, said: str) -> None:
    with pytest.raises(ClientError) as caught:
        picture(data, ARGS)
    assert (caught.value.status, said in caught.value.message) == (status, True), caught.value.message


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "AVIF"]), st.integers(0, 400))
def test_damaged_uploads_are_never_more_than_a_client_error(junk: bytes, kind: str, at: int) -> None:
    good = encoded(kind)
    for data in (junk, good[:at] + junk + good[at + len(junk) :]):
        try:
            assert picture(data, ARGS)[:2] == b"\xff\xd8"
        except ClientError as error:
            assert error.status in (400, 413, 415)


def test_the_catalogue_shows_every_product_once_in_a_fixed_order() -> None:
    ids = pa.table(
        {
            "image_id": [f"{i:032x}" for i in range(40)],
            "product_id": [f"p{i // 2}" for i in range(40)],
            "category": [("dress", "top")[i // 2 % 2] for i in range(40)],
        }
    )
    catalogue, again = Catalogue(ids), Catalogue(ids.take(list(reversed(range(40)))))
    assert catalogue.shown == again.shown
    assert sorted({card.product_id for card in catalogue.shown}) == sorted({f"p{i}" for i in range(20)})
    assert catalogue.counts() == {"dress": 10, "top": 10}
    dresses, total = catalogue.page(8, 5, "dress")
    assert (len(dresses), total, {card.category for card in dresses}) == (2, 10, {"dress"})
    assert catalogue.page(99, 5, None) == ([], 20)
    name = catalogue.shown[0].image_id
    assert catalogue.excluded(name, same_product=False) == [name]
    assert len(catalogue.excluded(name, same_product=True)) == 2


def test_a_taken_port_is_named_with_the_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ResourceError, match=rf"port {port} .*--serve\.port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_the_serve_config_is_filled_in_from_the_run(tmp_path: Any) -> None:
    run = ("/w", "/m", "3", "/i")
    schema = fill_in(ServeConfig(port=8123), *run)
    (application,) = schema.applications
    assert ServeArgs.model_validate(application.args) == ServeArgs(
        workspace="/w", model_folder="/m", model_version="3", index_folder="/i"
    )
    assert (schema.http_options.host, schema.http_options.port) == ("127.0.0.1", 8123)
    assert url(ServeConfig(host="0.0.0.0", port=9)) == "http://127.0.0.1:9"
    mine = tmp_path / "serve.yaml"
    mine.write_text("applications: [{name: facap, import_path: serve_app.app:build, args: {max_reslts: 3}}]")
    with pytest.raises(ConfigError, match="max_reslts"):
        fill_in(ServeConfig(config_file=str(mine)), *run)
    mine.write_text("applications: [{name: other, import_path: a.b:c}]")
    with pytest.raises(ConfigError, match="should have an application named 'facap'"):
        fill_in(ServeConfig(config_file=str(mine)), *run)
