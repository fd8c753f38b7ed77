"""The trainer against a plain PyTorch loop, and what its shards, resumptions and modules may not change.

    $ make bench NAME=train               # about ten minutes; ARGS="--steps 10" for a try

`trainer_ratio`: triplets a second of the trainer (two FSDP ranks, one thread each, as in the quickstart) over
those of a loop in one process with two threads: the same model, cached states, batches, loss and AdamW and
nothing else. Loop, trainer, loop, trainer, loop, in turns; a step's time is the median of its run.
`data_wait_fraction`: the share of the trainer's steps in which the model waits for its inputs.
`flops_over_peak`: operations a second of the loop, as counted by facap.train.budget, over those of a large
matrix product on both cores in float32, in which it computes; `flops_over_bf16_peak`: in bfloat16.
`bf16_speedup`: the loop's step in float32 over its step under bfloat16 autocast.
`profile`: where the loop's time goes, by kind of operation.
`fsdp_loss_max_diff`, `resume_loss_max_diff`: see broken_trainings.py. `hf_parity_max_diff`: the largest
difference from Hugging Face's own BLIP-2, of image states and of both heads, over random checkpoints.
"""

import argparse
import io
import json
import math
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray
import torch
from transformers import Blip2Config, Blip2ForImageTextRetrieval

from benchmarks import blip2_parity, broken_trainings
from facap.model.config import FashionBlip2Config
from facap.model.fashionblip2 import FashionBlip2
from facap.progress import Progress
from facap.store import Store
from facap.study import drawn
from facap.study.loop import Loop
from facap.tracking import EXPERIMENT, open_client
from facap.train import pipeline
from facap.train.budget import plan
from facap.train.config import TrainConfig
from facap.train.feed import split_rows

FAMILIES = 500  # 3,000 pictures and triplets
WARM_UP = 3  # steps that do not count
BF16_STEPS = 3  # slow where the CPU has no code for it
KINDS = {
    "matrix products": (
        "aten::mm",
        "aten::addmm",
        "aten::bmm",
        "aten::baddbmm",
        "aten::linear",
        "aten::matmul",
    ),
    "attention": ("aten::_scaled_dot_product", "aten::_flash_attention", "aten::_efficient_attention"),
    "softmax and norms": ("aten::_softmax", "aten::native_layer_norm", "aten::_log_softmax", "aten::linalg"),
    "optimiser": ("aten::_fused_adamw", "Optimizer"),
    "activations": ("aten::gelu", "aten::tanh", "aten::native_dropout"),
}


def step_seconds(steps: list[float]) -> float:
    """The median of all but the first steps."""
    return statistics.median(steps[WARM_UP:])


def trained(store: Store, config: TrainConfig, number: int) -> tuple[list[float], list[float]]:
    """(seconds of each step, share of it in which the model waited) of a training by the job's own way."""
    pipeline.run(store, config.model_copy(update={"seed": number}), Progress("train", io.StringIO()))
    client = open_client(store, "")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]
    history = {
        name: [metric.value for metric in client.get_metric_history(run.info.run_id, name)]
        for name in ("samples_per_s", "data_share")
    }
    return [config.batch_size / rate for rate in history["samples_per_s"]], history["data_share"]


def in_turns(store: Store, loop: Loop, config: TrainConfig, steps: int) -> dict[str, Any]:
    """Loop and trainer one after the other; the loop has the first and the last turn."""
    loops, trainers, waits = [step_seconds(loop.run(steps))], [], []
    for number in range(2):
        seconds, waited = trained(store, config, number)
        trainers.append(step_seconds(seconds))
        waits += waited[WARM_UP:]
        loops.append(step_seconds(loop.run(steps)))
        print(f"steps of the loop {loops} s, of the trainer {trainers} s", flush=True)
    loop_s, trainer_s = statistics.mean(loops), statistics.mean(trainers)
    return {
        "steps": steps,
        "loop_samples_per_s": round(config.batch_size / loop_s, 1),
        "trainer_samples_per_s": round(config.batch_size / trainer_s, 1),
        "trainer_ratio": round(loop_s / trainer_s, 3),
        "data_wait_fraction": round(statistics.mean(waits), 4),
    }


def peak(dtype: torch.dtype, side: int = 2048, rounds: int = 5) -> float:
    """Operations a second of a matrix product on both cores, the best of some."""
    a, b = torch.randn(side, side, dtype=dtype), torch.randn(side, side, dtype=dtype)
    best = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        a @ b
        best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return best


def efficiency(loop: Loop, config: TrainConfig, steps: int) -> dict[str, Any]:
    """Operations a second against the peak, before and after the steps; bfloat16; and a profile."""
    flops = plan(config.model_copy(update={"num_workers": 1})).flops
    peaks = [peak(torch.float32)]
    plain = step_seconds(loop.run(steps))
    peaks.append(peak(torch.float32))
    bf16 = statistics.median(loop.run(1 + BF16_STEPS, "bf16")[1:])
    bf16_peak = peak(torch.bfloat16, side=1024)
    return {
        "gflop_a_step": round(flops / 1e9, 1),
        "gflop_per_s": round(flops / plain / 1e9, 1),
        "fp32_peak_gflop_per_s": round(statistics.mean(peaks) / 1e9, 1),
        "bf16_peak_gflop_per_s": round(bf16_peak / 1e9, 1),
        "flops_over_peak": round(flops / plain / statistics.mean(peaks), 3),
        "flops_over_bf16_peak": round(flops / plain / bf16_peak, 3),
        "bf16_speedup": round(plain / bf16, 3),
        "profile": profile(loop),
    }


def profile(loop: Loop) -> dict[str, float]:
    """Shares of the loop's CPU time by kind of operation, forward and backward; prints the longest ones."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        loop.run(3)
    averages = seen.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=15), flush=True)
    spent: Counter[str] = Counter()
    for event in averages:
        kind = next((k for k, names in KINDS.items() if event.key.startswith(names)), "the rest")
        spent[kind] += event.self_cpu_time_total
    return {kind: round(time_us / spent.total(), 3) for kind, time_us in spent.most_common()}


def parity(folder: Path) -> float:
    """The largest difference from Hugging Face's BLIP-2 over random checkpoints of several sizes."""
    worst = 0.0
    for number, (width, layers, queries) in enumerate([(32, 2, 8), (96, 4, 16), (192, 6, 32)]):
        torch.manual_seed(number)
        vision = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
        vision |= {"num_attention_heads": 4, "image_size": 64, "patch_size": 16}
        qformer = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
        qformer |= {"num_attention_heads": 4, "encoder_hidden_size": width, "cross_attention_frequency": 2}
        qformer |= {"vocab_size": 100, "use_qformer_text_input": True}
        hf = Blip2ForImageTextRetrieval(
            Blip2Config(
                vision_config=vision,
                qformer_config=qformer,
                num_query_tokens=queries,
                image_text_hidden_size=24,
            )
        )
        hf = hf.float().eval()
        with torch.no_grad():
            for parameter in hf.parameters():
                parameter.normal_(std=0.2 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5)
        place = folder / f"parity-{number}"
        hf.save_pretrained(place)
        config = FashionBlip2Config(base=str(place), adapter_blocks=None, adapter_placement="both")
        model = FashionBlip2.from_base(config).eval()
        pixels, ids = torch.randn(3, 3, 64, 64), torch.randint(1, 100, (3, 9))
        mask = torch.ones_like(ids)
        found = blip2_parity.pairs(model, hf, pixels, ids, mask)
        worst = max(worst, *(float((one - other).abs().max()) for one, other in found))
    return worst


def main() -> None:
    """Prints as it goes; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30, help="of each turn")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facap-bench-") as folder:
        store = drawn.make(f"{folder}/speed", FAMILIES, seed=0)
        rows = len(split_rows(store, "train"))
        config = TrainConfig(epochs=math.ceil(given.steps / (rows // 64)), checkpoint_every_steps=1000)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        broken = broken_trainings.measure(Path(folder) / "broken", epochs=4)
        print(json.dumps(broken), flush=True)
        loop = Loop(store, config)
        figures = in_turns(store, loop, config, given.steps)
        ray.shutdown()
        figures |= efficiency(loop, config, given.steps)
        figures |= broken | {"hf_parity_max_diff": parity(Path(folder))}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
