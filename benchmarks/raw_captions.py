"""The captions of a workspace by vLLM alone: what the engine can do when nothing is around it.

    $ python benchmarks/raw_captions.py WORKSPACE ANSWERS.json in_process
    {"rows": 3998, "seconds": 25.1}

The engine is in this process, or in its own (`own_process`, vLLM's default).
Pictures are decoded and prepared before the clock starts, and the engine has warmed up. Same model, prompt,
sampling and engine settings as the stage. ANSWERS.json is made: image_id -> what the model wrote.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from facap.annotate import prompts
from facap.annotate.config import CaptionConfig
from facap.annotate.engine import engine_kwargs, environment
from facap.model import checkpoints
from facap.model.preprocess import decode, square
from facap.schemas import OK
from facap.store import Store

WARM_UP = 128  # requests


def main() -> None:
    """Asks for the caption of every kept picture."""
    store, config = Store(sys.argv[1]), CaptionConfig()
    os.environ.update(environment(config))
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = {"in_process": "0", "own_process": "1"}[sys.argv[3]]
    from vllm import LLM, SamplingParams

    prompt = prompts.load(config.template)
    requests: list[Any] = []  # vLLM's own type for them is a union of a dozen
    asked: list[str] = []
    for row in store.read("images", ["image_id", "category", "status", "duplicate_of", "bytes"]).to_pylist():
        if row["status"] == OK and row["duplicate_of"] is None:
            picture = square(decode(row["bytes"]), config.image_px)
            text = prompt.render(category=row["category"])
            requests.append({"prompt": text, "multi_modal_data": {"image": picture}})
            asked.append(row["image_id"])
    engine = LLM(model=checkpoints.resolve(config.model), **engine_kwargs(config))
    sampling = SamplingParams(**config.sampling_params())
    engine.generate(requests[:WARM_UP], sampling, use_tqdm=False)
    started = time.monotonic()
    answers = engine.generate(requests, sampling, use_tqdm=False)
    seconds = time.monotonic() - started
    texts = [answer.outputs[0].text for answer in answers]
    Path(sys.argv[2]).write_text(json.dumps(dict(zip(asked, texts, strict=True))))
    print(json.dumps({"rows": len(requests), "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
