"""Catalogue and crawl as a process of its own, for tests that kill it: WORKSPACE PORT NUM_PRODUCTS."""

import os
import sys

from facap.catalog import pipeline as catalog
from facap.catalog.config import CatalogConfig
from facap.catalog.demo_server import serve_demo
from facap.crawl import pipeline as crawl
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.progress import Progress, table
from facap.store import Store


def main(workspace: str, port: int, num_products: int) -> None:
    import ray

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        object_store_memory=300 * 1024**2,
    )  # fmt: skip
    store = Store(workspace)
    config = CatalogConfig(num_products=num_products, port=port)
    reports = [catalog.run(store, config, Progress("catalog"))]
    # Slow enough that a kill finds the crawl half-way.
    pace = {**LOCAL_SERVER, "max_rate_per_host": 60.0, "batch_size": 16}
    with serve_demo(store.folder("demo"), port, slow_s=0.5):
        reports.append(crawl.run(store, CrawlConfig(**pace), Progress("crawl")))
    print(table(reports), flush=True)


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ.pop("RAY_ADDRESS", None)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
