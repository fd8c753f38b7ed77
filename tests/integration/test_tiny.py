"""The job that trains the shipped models, on next to nothing: every step of it, not what it learns."""

import subprocess
import sys
from pathlib import Path

import pytest

from facap.model.fashionblip2 import load_base

ROOT = Path(__file__).resolve().parents[2]
LITTLE = {
    "pictures": 100,
    "sharp_pictures": 20,
    "held_out": 10,
    "attribute_steps": 1,
    "retrieval_steps": 1,
    "captioner_steps": 1,
    "writer_steps": 1,
    "batch_size": 8,
    "processes": 1,  # other tests run beside: threads would wait for each other
}


@pytest.mark.slow
def test_one_command_trains_measures_and_writes_all_three(tmp_path: Path):
    flags = [word for name, value in LITTLE.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.train_tiny_models", "--out", str(tmp_path), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures = {
        "tiny-captioner": ("precision", "recall"),
        "tiny-retrieval": ("caption_to_picture_recall_at_10",),
        "tiny-writer": ("names_all", "no_false"),
    }
    for name, keys in figures.items():
        assert sorted((tmp_path / name).glob("*.safetensors"))
        card = (tmp_path / name / "README.md").read_text()
        assert all(f"| {key} | " in card and f"{key} " in done.stdout for key in keys), card
        assert "100 pictures drawn at 128 px" in card
    assert load_base(str(tmp_path / "tiny-retrieval")).config.num_query_tokens > 0
