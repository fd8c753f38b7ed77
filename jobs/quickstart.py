"""Takes a catalogue through every stage, from URLs to a live search page; resumes where it stopped."""

import sys
from typing import TextIO

from facap.store import Store
from jobs.build_catalog import build_catalog
from jobs.build_index import build_index
from jobs.caption_images import caption_images
from jobs.crawl_images import crawl_images
from jobs.evaluate_model import evaluate_model, show
from jobs.job_runner import run_jobs
from jobs.job_settings import Settings
from jobs.mine_pairs import mine_pairs
from jobs.promote_model import promote_model
from jobs.serve_search import serve_alone, serve_search
from jobs.train_fashionblip2 import train_fashionblip2
from jobs.write_modifications import write_modifications

STAGES = {
    "catalog": build_catalog,
    "crawl": crawl_images,
    "caption": caption_images,
    "pairs": mine_pairs,
    "modify": write_modifications,
    "train": train_fashionblip2,
    "evaluate": evaluate_model,
    "promote": promote_model,
    "index": build_index,
    "serve": serve_search,
}


def finish(store: Store, settings: Settings, out: TextIO) -> None:
    """Prints METRICS as a table, then keeps serving unless told not to."""
    show(store, settings, out)
    print(file=out)
    serve_alone(store, settings, out)


if __name__ == "__main__":
    sys.exit(run_jobs(__doc__, STAGES, afterwards=finish))
