"""The worker and what it hands over, without Ray: lanes in, parts in the store, redirects left to others."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from aiohttp import web
from PIL import Image

from facap.crawl import sink
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.crawl.increments import carry_over, crawl_key, is_new_round, known, mark_vanished, version_before
from facap.crawl.lanes import VISITS, lanes
from facap.crawl.sink import Sink
from facap.crawl.worker import CrawlWorker
from facap.schemas import IMAGES, OK
from facap.store import Stage, Store
from tests.processes import PATIENCE_S

ITEM = {"product_id": "p", "category": "dress"}


def jpeg(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (shade % 256, 40, 90)).save(out, "JPEG")
    return out.getvalue()


class Shop:
    """Pictures by number with an ETag each, which change, go or refuse as `answers` says; one redirects."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, int] = {}
        self.version = 1
        self.base = ""

    async def answer(self, request: web.Request) -> web.Response:
        name = request.path.strip("/")
        self.asked[name] += 1
        if name == "moved":
            raise web.HTTPFound(self.base.replace("127.0.0.1", "127.0.0.2") + "/7")
        if not name.isdigit():
            return web.Response(status=404)
        if name in self.answers:
            return web.Response(status=self.answers[name])
        etag = f'"{name}-{self.version if int(name) % 2 else 1}"'  # odd ones change with the version
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(body=jpeg(int(name) * 20 + 7 * self.version), headers={"ETag": etag})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
        await runner.cleanup()


def settings(**changed: object) -> CrawlConfig:
    return CrawlConfig(
        **{**LOCAL_SERVER, "backoff_s": 0.01, "breaker_pause_s": 0.01, "attempts": 1, **changed}
    )


def visits(base: str, names: list[str], facts: pa.Table | None = None) -> pa.Table:
    rows = []
    known_facts = {row["item_id"]: row for row in facts.to_pylist()} if facts is not None else {}
    for name in names:
        url = f"{base}/{name}"
        rows.append({**ITEM, **known_facts.get(name, {}), "item_id": name, "url": url, "at": url, "hops": 0})
    return pa.Table.from_pylist(rows, schema=VISITS)


async def crawl(worker: CrawlWorker, todo: pa.Table) -> list[dict]:
    left = await asyncio.gather(*(worker(lane) for lane in lanes(todo, 1)))
    await worker.close()
    return pa.concat_tables(left).to_pylist()


def rows(stage: Stage) -> dict[str, dict]:
    found = stage.read().to_pylist()
    assert len({row["item_id"] for row in found}) == len(found)
    return {row["item_id"]: row for row in found}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_every_visit_becomes_a_row_but_for_those_that_led_elsewhere(store: Store) -> None:
    shop, stage = Shop(), store.stage("images", IMAGES, "k")

    async def run() -> list[dict]:
        async with shop.open():
            todo = visits(shop.base, ["1", "2", "gone", "moved"])
            return await crawl(CrawlWorker(settings(num_workers=2), stage), todo)

    (left,) = asyncio.run(run())
    assert left["item_id"] == "moved" and left["at"].endswith("/7") and "127.0.0.2" in left["at"]
    assert left["url"].endswith("/moved") and left["hops"] == 1
    found = {name: row["status"] for name, row in rows(stage).items()}
    assert found == {"1": OK, "2": OK, "gone": "http_404"}


def test_a_worker_after_one_that_died_does_only_what_is_left(store: Store) -> None:
    shop, stage = Shop(), store.stage("images", IMAGES, "k")

    async def run() -> None:
        async with shop.open():
            todo = visits(shop.base, ["1", "2", "3", "4"])
            await crawl(CrawlWorker(settings(), stage), todo.slice(0, 2))
            await crawl(CrawlWorker(settings(), stage), todo)

    asyncio.run(run())
    assert [shop.asked[name] for name in "1234"] == [1, 1, 1, 1] and set(rows(stage)) == set("1234")


def test_rows_are_in_the_store_when_the_lane_is_done_and_late_ones_after_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "FLUSH_S", 0.05)
    stage = store.stage("pairs", IMAGES, "k")
    shop = Shop()

    async def run() -> None:
        async with shop.open():
            await crawl(CrawlWorker(settings(batch_size=100), stage), visits(shop.base, ["1"]))
            assert set(rows(stage)) == {"1"}
            late = Sink(stage, 100)
            await late.add({**stage.read().to_pylist()[0], "item_id": "2"})
            assert set(rows(stage)) == {"1"}
            while len(rows(stage)) < 2:
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_failed_write_keeps_the_rows_and_is_raised(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = store.stage("images", IMAGES, "k")
    shop = Shop()

    async def run() -> None:
        async with shop.open():
            await crawl(CrawlWorker(settings(), stage), visits(shop.base, ["1"]))
        row = stage.read().to_pylist()[0]
        full = Sink(stage, 2)
        with monkeypatch.context() as disk:
            disk.setattr(Stage, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            await full.add({**row, "item_id": "2"})
            with pytest.raises(OSError, match="disk full"):
                await full.add({**row, "item_id": "3"})
        await full.flush()

    asyncio.run(run())
    assert set(rows(stage)) == set("123")


def committed(
    store: Store, config: CrawlConfig, items: str, todo: pa.Table, before: Stage | None = None
) -> Stage:
    """Crawls `todo` into the version that `items` makes, and commits it."""
    stage = store.stage("images", IMAGES, crawl_key(config.for_key(), {"items": items}))
    asyncio.run(crawl(CrawlWorker(config, stage, before), todo))
    stage.commit(config.model_dump(mode="json"), {"items": items})
    return stage


def in_shop(shop: Shop, work) -> None:  # type: ignore[no-untyped-def]
    """Runs blocking `work` while the shop is open on a loop of its own thread."""

    async def run() -> None:
        async with shop.open():
            await asyncio.to_thread(work)

    asyncio.run(run())


def test_good_rows_go_over_and_vanished_ones_are_marked(store: Store) -> None:
    shop, config = Shop(), settings()

    def work() -> None:
        committed(store, config, "a", visits(shop.base, ["1", "2", "gone", "3"]))
        before = version_before(store, settings(max_failure_rate=1.0))
        assert before is not None and version_before(store, settings(longest_side=64)) is None
        first = rows(before)
        stage = store.stage("images", IMAGES, crawl_key(config.for_key(), {"items": "b"}))
        wanted = visits(shop.base, ["1", "3", "4", "gone"]).select(
            ["item_id", "product_id", "category", "url"]
        )
        wanted = wanted.set_column(2, "category", pa.array(["skirt", "dress", "dress", "dress"]))
        for _ in range(2):  # a kill, and all over again
            stage = store.stage("images", IMAGES, stage.key)
            carried, vanished = carry_over(before, stage, wanted), mark_vanished(before, stage, wanted)
        assert (carried, vanished) == (0, 1)
        found = rows(stage)
        assert {name: row["status"] for name, row in found.items()} == {"1": OK, "3": OK, "2": "vanished"}
        assert found["1"] == {**first["1"], "category": "skirt"} and found["3"] == first["3"]
        assert found["2"]["bytes"] is None and found["2"]["fetched_at"] == first["2"]["fetched_at"]
        stage.commit(config.model_dump(mode="json"), {"items": "b"})
        later = version_before(store, config)
        assert later is not None
        third = store.stage("images", IMAGES, "c")
        mark_vanished(later, third, wanted.slice(1))  # what vanished stays vanished
        assert set(rows(third)) == {"1", "2"}

    in_shop(shop, work)


def test_a_round_asks_again_and_fetches_only_what_changed(store: Store) -> None:
    shop = Shop()
    names = ["1", "2", "3", "4", "5", "6"]

    def work() -> None:
        first = committed(store, settings(), "a", visits(shop.base, names))
        old = rows(first)
        shop.version = 2  # 1, 3 and 5 change
        shop.answers = {"3": 404, "4": 503, "5": 410}
        again = settings(revalidate="monday")
        assert is_new_round(store, again) and not is_new_round(store, settings())
        before = version_before(store, again)
        assert before is not None and crawl_key(again.for_key(), {"items": "a"}) != first.key
        facts = known(before)
        assert set(facts.column("item_id").to_pylist()) == set(names)
        new = rows(committed(store, again, "a", visits(shop.base, names, facts), before))
        found = {name: row["status"] for name, row in new.items()}
        assert found == {"1": OK, "2": OK, "3": "http_404", "4": OK, "5": "http_410", "6": OK}
        assert new["1"]["image_id"] != old["1"]["image_id"] and new["1"]["etag"] == '"1-2"'
        for name in "26":  # the same, and confirmed just now
            assert new[name] == {**old[name], "fetched_at": new[name]["fetched_at"]}
            assert new[name]["fetched_at"] > old[name]["fetched_at"]
        assert new["4"] == old["4"]  # a host in trouble says nothing of the picture
        assert not is_new_round(store, again) and is_new_round(store, settings(revalidate="tuesday"))

    in_shop(shop, work)
