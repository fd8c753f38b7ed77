"""What the crawl's pipeline decides before it fetches anything, and how it watches what comes of it."""

import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from facap.crawl import pipeline
from facap.crawl.config import CrawlConfig
from facap.crawl.pipeline import require_contact
from facap.crawl.stop import StopSign
from facap.errors import ConfigError
from facap.failures import FailureLimit
from facap.progress import Progress
from facap.schemas import IMAGES, from_rows
from facap.store import Stage, Store
from tests.processes import PATIENCE_S


def items(*urls: str) -> pa.Table:
    return pa.table({"url": list(urls)})


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/a.jpg", "http://8.8.8.8/a.jpg", "http://10.0.0.1/a.jpg", "http://[::1]/a.jpg"],
)
def test_a_contact_is_required_for_hosts_that_may_be_anyones(url: str) -> None:
    own = "http://127.0.0.1:8000/a.jpg"
    with pytest.raises(ConfigError, match=r"crawl.contact is empty, but .* may be anyone's"):
        require_contact(CrawlConfig(allow_networks=("127.0.0.0/8",)), items(own, url))
    require_contact(CrawlConfig(contact="bot@shop.example"), items(own, url))


def test_none_is_required_for_what_is_allowed_by_name() -> None:
    config = CrawlConfig(allow_networks=("127.0.0.0/8", "fd00::/8"))
    require_contact(
        config, items("http://127.0.0.1:8000/a", "http://localhost/a", "http://[fd00::1]/a", "junk")
    )
    with pytest.raises(ConfigError):
        require_contact(CrawlConfig(), items("http://localhost/a"))


class Failing:
    """Calls `work`, but for the call number `at`, which raises OSError; `done` is set by the others."""

    def __init__(self, work: Callable, at: int) -> None:
        self.work, self.at, self.calls, self.done = work, at, 0, threading.Event()

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        if self.calls == self.at:
            raise OSError("the store is away")
        result = self.work(*arguments)
        self.done.set()
        return result


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Store(str(tmp_path)).stage("images", IMAGES, "k")
    item = {"product_id": "p", "category": "top", "fetched_at": datetime.now(UTC)}
    url = "https://me:SECRET@a.example/1.jpg?sig=SECRET"
    lost = {"status": "dns", "error": f"no host in {url}", "url": url}
    stage.write(from_rows([{**item, **lost, "item_id": str(number)} for number in range(9)], IMAGES))
    return stage


@pytest.mark.parametrize("what", ["look", "limit", "put"])
def test_the_watch_goes_on_after_a_failure_of_the_store(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(pipeline, "PRINT_EVERY_S", 0.01)
    stop, out = StopSign(stage.folder), io.StringIO()
    put = Failing(stop.put, at=1 if what == "put" else 0)
    monkeypatch.setattr(stop, "put", put)
    if what == "look":
        monkeypatch.setattr(stage, "parts", Failing(stage.parts, at=2))  # after the look before the watch
    elif what == "limit":
        monkeypatch.setattr(stage, "read", Failing(stage.read, at=1))
    limit = FailureLimit("crawl", stage, 0.1, total=10)
    with pipeline._watched(limit, stop, Progress("crawl", out)):
        assert put.done.wait(PATIENCE_S) and stop.is_put()
    assert not stop.is_put() and out.getvalue().count("too many rows have failed") == 1


def test_a_sign_that_cannot_be_removed_hides_no_error(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopSign(stage.folder)
    monkeypatch.setattr(stop, "remove", Failing(stop.remove, at=1))
    limit = FailureLimit("crawl", stage, 1.0, total=10)
    with pytest.raises(ZeroDivisionError), pipeline._watched(limit, stop, Progress("crawl", io.StringIO())):
        raise ZeroDivisionError
    assert stop.remove.calls == 1  # type: ignore[attr-defined]


def test_that_nothing_was_crawled_is_said_without_signatures(stage: Stage) -> None:
    text = pipeline._nothing_crawled(stage, stage.statuses())
    assert (
        "e.g. https://a.example/1.jpg: no host in https://a.example/1.jpg)" in text and "SECRET" not in text
    )
