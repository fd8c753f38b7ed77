"""Reads a table, feed, sitemap or product pages, or renders the demo catalogue -> ITEMS."""

import sys

from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings


def build_catalog(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The stage with its settings."""
    from facap.catalog import pipeline
    from jobs.fetch_sources import source_fetch

    return pipeline.run(store, settings.catalog, progress, source_fetch(settings.crawl))


if __name__ == "__main__":
    sys.exit(run_job("catalog", __doc__, build_catalog))
