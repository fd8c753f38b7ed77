"""Items whose category is none of ours are crawled on request only."""

import io

import pytest

from facap.crawl import pipeline
from facap.crawl.config import CrawlConfig
from facap.errors import StageFailed
from facap.progress import Progress
from facap.schemas import ITEMS, UNMAPPED, from_rows
from facap.store import Store

ROWS = [
    {"item_id": n, "product_id": n, "category": c, "url": f"http://127.0.0.1/{n}.jpg", "source": "x"}
    for n, c in (("a", "dress"), ("b", UNMAPPED), ("c", "top"))
]


def test_unmapped_items_are_left_out_unless_asked_for() -> None:
    items = from_rows(ROWS, ITEMS)
    assert pipeline.wanted(items, CrawlConfig()).column("item_id").to_pylist() == ["a", "c"]
    assert pipeline.wanted(items, CrawlConfig(unmapped=True)).column("item_id").to_pylist() == ["a", "b", "c"]
    assert CrawlConfig(unmapped=True).for_key() != CrawlConfig().for_key()


def test_nothing_but_unmapped_items_is_one_clear_sentence(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = Store(str(tmp_path))
    stage = store.stage("items", ITEMS, "k")
    stage.write(from_rows([{**row, "category": UNMAPPED} for row in ROWS], ITEMS))
    stage.commit({}, {})
    with pytest.raises(
        StageFailed, match=r"all 3 items map to none of ours; name them in catalog\.categories"
    ):
        pipeline.run(store, CrawlConfig(), Progress("crawl", io.StringIO()))
