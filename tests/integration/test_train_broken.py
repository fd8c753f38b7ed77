"""Trainings that are killed and resumed on other numbers of workers take the way of one left in peace."""

from pathlib import Path

import pytest

from benchmarks import broken_trainings
from facap.store import Store
from facap.tracking import EXPERIMENT, open_client

pytestmark = pytest.mark.slow


def test_a_training_killed_twice_has_the_losses_of_one_in_peace(ray_session: None, tmp_path: Path) -> None:
    """On two workers with all of its Ray, then the one that went on; 2, 1 and 2: benchmarks/train.py."""
    found = broken_trainings.survived(tmp_path, families=24, epochs=4, batch_size=8, keep="best")
    assert found["steps"] >= broken_trainings.COMPARED
    assert found["resume_loss_max_diff"] < 1e-4, found  # also that of one worker and two
    first, second = found["resumed_from"]
    assert 0 < first <= second, found

    store = Store(str(tmp_path / "broken"))
    kept = store.require("model").extra
    assert kept["ranks"] == 1 and 0 < kept["kept_step"] <= kept["steps"] == found["steps"]
    client = open_client(store, "")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert {
        "grad_norm",
        "data_share",
        "temperature",
        "samples_per_s",
        "val_recall_at_10",
    } <= run.data.metrics.keys()
    assert any(name.startswith("system/cpu") for name in run.data.metrics)
    assert run.data.params["inputs.triplets"] == store.fingerprint("triplets")
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert any(path.endswith(".png") for path in pictures), pictures
