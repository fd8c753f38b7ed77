"""The service on a real Ray: the index stage, a deployment, every endpoint, the page in Chromium."""

import concurrent.futures
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pyarrow.parquet as pq
import pytest

from facap.errors import ContractError, ResourceError
from facap.schemas import CATEGORIES
from serve_app.config import ServeConfig
from serve_app.deploy import CONFIG_FILE, deploy
from tests.ports import free_ports
from tests.processes import PATIENCE_S
from tests.serving import VERSION, Made, jpeg, make

pytestmark = pytest.mark.slow

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data"}


@pytest.fixture(scope="module")
def made(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small catalogue, embedded and indexed."""
    made = make(tmp_path_factory.mktemp("serve"))
    report = made.index()
    assert (report.rows_in, report.rows_out, report.reused) == (40, 40, False)
    return made


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ServeConfig:
    """The shipped Serve config on a free port, with queues that a browser does not fill and a test can."""
    text = CONFIG_FILE.read_text()
    for name in ("max_ongoing_requests", "max_queued_requests"):
        old = next(line for line in text.splitlines() if line.strip().startswith(name))
        text = text.replace(old, f"{old.partition(':')[0]}: 8")
    short = tmp_path_factory.mktemp("config") / "serve.yaml"
    short.write_text(text)
    (port,) = free_ports(1)
    return ServeConfig(config_file=str(short), port=port, ready_timeout_s=PATIENCE_S)


@pytest.fixture(scope="module")
def site(made: Made, config: ServeConfig) -> Iterator[str]:
    """The address of the running service."""
    from ray import serve

    yield deploy(config, made.store.root, made.model_folder, VERSION, made.store.folder("index"))
    serve.shutdown()


@pytest.fixture
def client(site: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def post(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/api/search", json=fields)


# --- the index stage ------------------------------------------------------------------------------


def test_the_index_is_reused_and_resumes(made: Made) -> None:
    assert made.index().reused
    folder = Path(made.store.folder("embeddings"))
    before = made.store.read("embeddings").sort_by("image_id").to_pylist()
    (folder.parent / "manifest.json").unlink()  # as if killed before the commit, one part short
    parts = sorted(folder.glob("*.parquet"))
    kept = pq.read_table(parts[0]).slice(0, 13)
    for part in parts:
        part.unlink()
    pq.write_table(kept, folder / "part-left-over.parquet")
    made.index()
    after = made.store.read("embeddings").sort_by("image_id").to_pylist()
    assert [row["image_id"] for row in after] == sorted(made.image_ids)
    for was, now in zip(before, after, strict=True):
        assert now["vector"] == pytest.approx(was["vector"], abs=1e-4)


def test_another_model_version_is_refused(made: Made, config: ServeConfig) -> None:
    with pytest.raises(ContractError, match=r"index: was made by model version 7 .* version 8 "):
        deploy(config, made.store.root, made.model_folder, "8", made.store.folder("index"))


# --- searching ------------------------------------------------------------------------------------


def test_search_by_id(client: httpx.Client, made: Made) -> None:
    reference, sibling = made.image_ids[:2]
    answer = post(client, reference_id=reference, text="make it red", k=10).json()
    names = [result["image_id"] for result in answer["results"]]
    scores = [result["score"] for result in answer["results"]]
    assert len(set(names)) == 10 and not {reference, sibling} & set(names)
    assert scores == sorted(scores, reverse=True)
    assert answer["model_version"] == VERSION
    assert 0 < answer["timing_ms"]["encode"] < answer["timing_ms"]["total"]
    assert set(answer["results"][0]) == {"image_id", "product_id", "category", "score"}
    only = post(client, reference_id=reference, text="make it red", category="skirt").json()["results"]
    assert only and {result["category"] for result in only} == {"skirt"}
    assert len(post(client, reference_id=reference, text="make it red", k=100).json()["results"]) == 38


def test_the_scores_are_the_models_own(client: httpx.Client, made: Made) -> None:
    from facap.model.encoder import Encoder
    from facap.model.preprocess import decode

    encoder = Encoder.load(made.model_folder)
    rows = {row["image_id"]: row for row in made.store.read("images").to_pylist() if row["status"] == "ok"}
    reference = made.image_ids[4]
    query_1D = encoder.queries([decode(rows[reference]["bytes"])], ["in navy"])
    best = post(client, reference_id=reference, text="in navy", k=3).json()["results"]
    pictures = [decode(rows[result["image_id"]]["bytes"]) for result in best]
    expected = (query_1D @ encoder.candidates(pictures).T)[0]
    assert [result["score"] for result in best] == pytest.approx(list(expected), abs=1e-3)


def test_search_by_upload(client: httpx.Client, made: Made) -> None:
    out = io.BytesIO()
    PIL.Image.open(io.BytesIO(jpeg(3, CATEGORIES[3]))).save(out, "PNG")
    files = {"image": ("me & you.png", out.getvalue(), "text/plain")}  # the content decides, not the name
    answer = client.post("/api/search", data={"text": "make it red", "k": "5"}, files=files)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 5


@pytest.mark.parametrize(
    ("status", "said", "request_"),
    [
        (404, "no picture", {"json": {"reference_id": "f" * 32, "text": "in red"}}),
        (400, "malformed", {"json": {"reference_id": "../etc/passwd", "text": "in red"}}),
        (400, "k is out of range", {"json": {"reference_id": "f" * 32, "text": "in red", "k": 101}}),
        (400, "501 characters", {"json": {"reference_id": "f" * 32, "text": "x" * 501}}),
        (400, "not JSON", {"content": b"{", "headers": JSON}),
        (415, "content type", {"content": b"a=b", "headers": {"content-type": "text/plain"}}),
        (415, "not a picture", {"data": {"text": "red"}, "files": {"image": b"#!/bin/sh"}}),
        (400, "cut off", {"data": {"text": "red"}, "files": {"image": jpeg(1, "top")[:3000]}}),
        (400, "no file `image`", {"data": {"text": "red"}, "files": {"other": b"x"}, "loose": True}),
        (413, "too large", {"data": {"text": "red"}, "files": {"image": b"x" * (9 * 1024**2)}}),
        (413, "too large", {"content": iter([b"x" * 1024**2] * 9), "headers": JSON}),
        (400, "form cannot be read", {"content": b"--x\r\nbad", "headers": FORM}),
    ],
)  # fmt: skip
def test_bad_searches(client: httpx.Client, status: int, said: str, request_: dict) -> None:
    loose = request_.pop("loose", False)
    answer = client.post("/api/search", **request_)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert loose or said in body["error"]
    assert body["expected"]


# --- the catalogue and the page -------------------------------------------------------------------


def test_the_catalogue_and_its_pictures(client: httpx.Client, made: Made) -> None:
    page = client.get("/api/catalog", params={"limit": 15}).json()
    rest = client.get("/api/catalog", params={"limit": 15, "offset": 15}).json()
    items = page["items"] + rest["items"]
    assert page["total"] == 20 and len({item["product_id"] for item in items}) == 20
    name = items[0]["image_id"]
    picture = client.get(f"/images/{name}.jpg")
    assert PIL.Image.open(io.BytesIO(picture.content)).size == (256, 320)
    assert picture.headers["content-type"] == "image/jpeg"
    assert "immutable" in picture.headers["cache-control"]
    again = client.get(f"/images/{name}.jpg", headers={"If-None-Match": picture.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("status", "path"),
    [
        (404, f"/images/{'f' * 32}.jpg"),
        (404, "/images/..%2f..%2fmanifest.json"),
        (404, "/images/x.png"),
        (404, "/static/..%2fgateway.py"),
        (404, "/nowhere"),
        (400, "/api/catalog?limit=100000"),
        (400, "/api/catalog?offset=-1"),
        (400, "/api/catalog?category=hats"),
        (405, "/api/search"),
    ],
)
def test_bad_addresses(client: httpx.Client, status: int, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "expected"}


def test_the_page_and_its_headers(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("style.css", "app.js", "favicon.svg"):
        assert f"/static/{name}" in page.text
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/healthz").json() == {"status": "ok", "model_version": VERSION, "images": 40}


def test_deploying_again_keeps_serving_and_another_port_is_refused(
    client: httpx.Client, made: Made, config: ServeConfig
) -> None:
    where = (made.store.root, made.model_folder, VERSION, made.store.folder("index"))
    deploy(config, *where)
    assert client.get("/healthz").status_code == 200
    with pytest.raises(ResourceError, match=rf"serves on port {config.port} already.*set serve.port"):
        deploy(config.model_copy(update={"port": 1 + config.port % 60000}), *where)


# --- in a browser ---------------------------------------------------------------------------------


def test_the_page_in_chromium(site: str, made: Made, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    from benchmarks.take_screenshot import browser_path, open_page

    if browser_path() is None:
        pytest.skip("no chromium on this machine")
    expect.set_options(timeout=1000 * PATIENCE_S)
    with open_page(site, width=1280, height=900) as page:
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.wait_for_selector("#grid .card[data-id]")
        assert page.locator("#grid .card[data-id]").count() == 20
        page.locator("#text").press("Enter")
        assert "Pick a garment first" in page.locator("#hint").inner_text()
        first = page.locator("#grid .card[data-id]").first
        first.click()
        assert first.get_attribute("data-id") in (page.locator("#reference-image").get_attribute("src") or "")
        page.locator("#text").fill("<img src=x onerror=alert(1)> in red")
        page.keyboard.press("Enter")
        page.wait_for_selector("#grid .rank")
        ranks = page.locator("#grid .rank").all_inner_texts()
        assert ranks == [str(i + 1) for i in range(len(ranks))] and len(ranks) == 38
        assert "<img" in page.locator("#title").inner_text()  # shown as text, not run
        second = page.locator("#grid .card").nth(1)
        second.click()  # a result becomes the next reference
        assert second.get_attribute("data-id") in (
            page.locator("#reference-image").get_attribute("src") or ""
        )
        own = tmp_path / "mine.png"
        PIL.Image.open(io.BytesIO(jpeg(5, "top"))).save(own)
        page.locator("#upload").set_input_files(str(own))
        page.locator("#text").fill("in navy")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#grid .rank")).to_have_count(40)
        page.locator(".filter[data-category=skirt]").click()
        expect(page.locator("#grid .rank")).to_have_count(6)
        assert set(page.locator("#grid .name").all_inner_texts()) == {"Skirt"}
        broken = tmp_path / "broken.png"
        broken.write_bytes(own.read_bytes()[:2000])
        page.locator("#upload").set_input_files(str(broken))
        page.get_by_role("button", name="Search").click()
        page.wait_for_selector("#notice:not([hidden])")
        assert "cut off" in page.locator("#notice").inner_text()
        assert len(problems) == 1 and "400" in problems[0], problems  # the broken upload


def test_the_page_asks_again_when_it_is_refused(site: str, made: Made) -> None:
    from playwright.sync_api import Route, expect

    from benchmarks.take_screenshot import browser_path, open_page, wait_for_pictures

    if browser_path() is None:
        pytest.skip("no chromium on this machine")
    refused: dict[str, int] = {}

    def refuse(route: Route) -> None:
        route.fulfill(status=503, headers={"Retry-After": "0.1"}, json={"error": "", "expected": ""})

    def refuse_twice(route: Route) -> None:
        asked = refused.get(route.request.url, 0)
        refused[route.request.url] = asked + 1
        if asked < 2:
            refuse(route)
        else:
            route.continue_()

    with open_page(site, width=1280, height=900) as page:
        page.route("**/images/*.jpg", refuse)  # until the picture of the reference was refused as well
        page.route("**/api/**", refuse_twice)
        page.reload()
        page.locator("#grid .card[data-id]").first.click(timeout=1000 * PATIENCE_S)
        failed = "(i => i.complete && !i.naturalWidth)(document.getElementById('reference-image'))"
        while not page.evaluate(failed):
            page.wait_for_timeout(10)
        page.unroute("**/images/*.jpg")
        page.route("**/images/*.jpg", refuse_twice)
        page.locator("#text").fill("in red")
        page.keyboard.press("Enter")
        expect(page.locator("#grid .rank")).to_have_count(38, timeout=1000 * PATIENCE_S)
        wait_for_pictures(page)
        assert page.locator("#notice").is_hidden()
        assert refused[f"{site}/api/search"] == 3
        page.unroute("**/api/**")
        page.route("**/api/search", lambda route: route.fulfill(status=503, json={}))
        page.get_by_role("button", name="Search").click()
        page.wait_for_selector("#notice:not([hidden])")  # patience ends
        assert "busy" in page.locator("#notice").inner_text()


# --- overload -------------------------------------------------------------------------------------


def test_too_many_requests_are_refused_not_queued(client: httpx.Client, made: Made) -> None:
    def ask(number: int) -> int:
        return post(client, reference_id=made.image_ids[number % 40], text="red").status_code

    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        statuses = list(pool.map(ask, range(180)))
    assert set(statuses) == {200, 503}
    assert post(client, reference_id=made.image_ids[0], text="in red").status_code == 200
