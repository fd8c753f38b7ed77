"""Reads a published dataset, with its pictures if they are given -> TRIPLETS, GALLERIES, IMAGES."""

import sys
from typing import TYPE_CHECKING, Any

from facap.crawl.config import CrawlConfig
from facap.progress import Progress, StageReport
from facap.store import Store
from jobs.job_runner import run_job
from jobs.job_settings import Settings

if TYPE_CHECKING:
    from facap.triplets.formats.pictures import Decoder


def import_triplets(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """The import with its settings; pictures are decoded as the crawl decodes them."""
    from facap.triplets.formats import reading

    return reading.run(store, settings.imports, progress, decoder(settings.crawl))


def decoder(config: CrawlConfig) -> "Decoder":
    """The crawl's decoder and limits, for pictures that lie in a folder."""
    from facap.crawl.decode import DecodeError, limits_of, normalise, use_one_thread
    from facap.schemas import OK
    from facap.triplets.formats.pictures import Decoder

    limits = limits_of(config)
    use_one_thread()

    def outcome(data: bytes) -> dict[str, Any]:
        try:
            return {"status": OK, **vars(normalise(data, limits))}
        except DecodeError as error:
            return {"status": error.status, "error": str(error)[:500]}

    return Decoder(outcome, vars(limits), config.max_bytes)


if __name__ == "__main__":
    sys.exit(run_job("import", __doc__, import_triplets, engines=False))
