"""Fetches the images of ITEMS -> IMAGES; serves the demo catalogue meanwhile if that is what is crawled."""

import contextlib
import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def crawl_images(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.catalog.demo_server import serve_demo_on_every_node
    from facap.crawl import pipeline
    from facap.crawl.report import publish

    demo: contextlib.AbstractContextManager = contextlib.nullcontext()
    if not settings.catalog.manifest:
        demo = serve_demo_on_every_node(store.folder("demo"), settings.catalog.port)
    with demo:
        report = pipeline.run(store, settings.crawl, progress)
    publish(store, settings.mlflow_uri)
    progress.say(f"report: {store.path('reports', 'crawl.html')}")
    return report


if __name__ == "__main__":
    sys.exit(run_job("crawl", __doc__, crawl_images))
