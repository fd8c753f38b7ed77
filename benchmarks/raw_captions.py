"""The captions of a workspace once more, by vLLM alone: what the engine can do when nothing is around it.

    $ python benchmarks/raw_captions.py WORKSPACE   # last line: {"rows": ..., "seconds": ..., "equal": ...}

Pictures are decoded and prepared before the clock starts, and the engine has warmed up. Same model, prompt,
sampling and engine settings as the stage; `equal`: the share of answers that are the stage's, word for word.
"""

import json
import os
import sys
import time
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
    """Asks for every caption that is there."""
    store, config = Store(sys.argv[1]), CaptionConfig()
    os.environ.update(environment(config))
    from vllm import LLM, SamplingParams

    told = {
        row["image_id"]: row["raw"]
        for row in store.read("captions", ["image_id", "raw", "status"]).to_pylist()
        if row["status"] == OK
    }
    prompt = prompts.load(config.template)
    requests: list[Any] = []  # vLLM's own type for them is a union of a dozen
    wanted: list[str] = []
    for row in store.read("images", ["image_id", "category", "status", "duplicate_of", "bytes"]).to_pylist():
        if row["status"] == OK and row["duplicate_of"] is None and row["image_id"] in told:
            picture = square(decode(row["bytes"]), config.image_px)
            text = prompt.render(category=row["category"])
            requests.append({"prompt": text, "multi_modal_data": {"image": picture}})
            wanted.append(told[row["image_id"]])
    engine = LLM(model=checkpoints.resolve(config.model), **engine_kwargs(config))
    sampling = SamplingParams(**config.sampling_params())
    engine.generate(requests[:WARM_UP], sampling, use_tqdm=False)
    started = time.monotonic()
    answers = engine.generate(requests, sampling, use_tqdm=False)
    seconds = time.monotonic() - started
    equal = sum(
        answer.outputs[0].text == before for answer, before in zip(answers, wanted, strict=True)
    ) / len(wanted)
    print(json.dumps({"rows": len(requests), "seconds": round(seconds, 2), "equal": round(equal, 4)}))


if __name__ == "__main__":
    main()
