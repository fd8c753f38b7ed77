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


def train(out: Path, **settings: object) -> str:
    """Runs the job; returns what it printed."""
    flags = [word for name, value in (LITTLE | settings).items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.train_tiny_models", "--out", str(out), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_command_trains_measures_and_writes_all_three(tmp_path: Path):
    said = train(tmp_path / "fresh")
    figures = {
        "tiny-captioner": ("precision", "recall"),
        "tiny-retrieval": ("caption_to_picture_recall_at_10",),
        "tiny-writer": ("names_all from captions", "no_false from tags"),
    }
    for name, keys in figures.items():
        assert sorted((tmp_path / "fresh" / name).glob("*.safetensors"))
        card = (tmp_path / "fresh" / name / "README.md").read_text()
        assert all(f"| {key} | " in card and f"{key} " in said for key in keys), card
        assert "100 pictures drawn at 128 px" in card
    assert load_base(str(tmp_path / "fresh" / "tiny-retrieval")).config.num_query_tokens > 0


@pytest.mark.slow
def test_training_goes_on_from_shipped_weights(tmp_path: Path):
    """One tiny step from where they are leaves a captioner that is as good as before, or nearly so."""
    shipped = ROOT / "platform" / "facap" / "weights"
    train(tmp_path, models="tiny-captioner", start_from=shipped, learning_rate=0.001, held_out=20)
    assert [folder.name for folder in tmp_path.iterdir()] == ["tiny-captioner"]
    (line,) = [
        line
        for line in (tmp_path / "tiny-captioner" / "README.md").read_text().splitlines()
        if line.startswith("| precision |")
    ]
    assert float(line.split("|")[2]) > 0.9
