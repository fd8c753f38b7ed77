"""write_rows on real Ray: whole parts, counts at the driver, and a worker or a driver killed half-way."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from facap.dataflow import write_rows
from facap.errors import StageFailed
from facap.failures import FailureLimit
from facap.progress import Progress
from facap.schemas import CAPTIONS, conform
from facap.store import Store
from tests.processes import ROOT, wait_until

pytestmark = pytest.mark.slow


def captions(batch: pa.Table) -> pa.Table:
    """CAPTIONS for a batch of numbers; every tenth fails."""
    numbers = batch.column("id").to_pylist()
    failed = [n % 10 == 0 for n in numbers]
    columns = {"image_id": [f"i{n}" for n in numbers]}
    columns |= {
        name: ["x"] * len(numbers)
        for name in ("item_id", "product_id", "category", "model", "prompt_hash", "params_hash")
    }
    columns["caption"] = [None if bad else "a red dress" for bad in failed]
    columns["status"] = ["empty" if bad else "ok" for bad in failed]
    return conform(pa.table(columns), CAPTIONS)


def kill_once(batch: pa.Table, marker: str) -> pa.Table:
    """`captions`, after the worker that comes first has been killed."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return captions(batch)
    os.kill(os.getpid(), 9)
    raise AssertionError("unreachable")


def test_every_row_is_written_and_the_driver_hears_the_counts(ray_session: None, tmp_path: Path):
    import ray

    out = io.StringIO()
    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "k1")
    rows = ray.data.range(1000).map_batches(captions, batch_format="pyarrow", batch_size=100)
    counts = write_rows(rows, stage, total=1000, progress=Progress("caption", out), rows_per_part=64)
    assert counts == {"ok": 900, "empty": 100}
    assert "0/1,000" in out.getvalue().splitlines()[0]
    assert "1,000/1,000" in out.getvalue().splitlines()[-1]
    manifest = stage.commit({}, {})
    assert (manifest.rows, manifest.counts) == (1000, {"ok": 900, "empty": 100})
    assert len(manifest.files) >= 10
    assert all(
        stage.store._read_part(file, ["status"]).num_rows <= 128 for file in stage.store.files("captions")
    )


def test_a_worker_that_dies_loses_no_row_and_doubles_none(ray_session: None, tmp_path: Path):
    import ray

    marker = str(tmp_path / "killed")
    stage = Store(str(tmp_path / "w")).stage("captions", CAPTIONS, "k1")
    rows = ray.data.range(400, override_num_blocks=4).map_batches(
        kill_once, fn_kwargs={"marker": marker}, batch_format="pyarrow", batch_size=50
    )
    write_rows(rows, stage, total=400, progress=Progress("caption", io.StringIO()), rows_per_part=50)
    assert os.path.exists(marker)
    assert stage.commit({}, {}).counts == {"ok": 360, "empty": 40}
    ids = stage.store.read("captions", ["image_id"]).column(0).to_pylist()
    assert sorted(ids) == sorted(f"i{n}" for n in range(400))


def test_an_error_in_a_worker_ends_the_stage_and_keeps_whole_parts(ray_session: None, tmp_path: Path):
    import ray

    def fails_late(batch: pa.Table) -> pa.Table:
        if batch.column("id").to_pylist()[0] >= 200:
            raise ValueError("a defect in the stage")
        return captions(batch)

    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "k1")
    rows = ray.data.range(400, override_num_blocks=8).map_batches(
        fails_late, batch_format="pyarrow", batch_size=50
    )
    with pytest.raises(Exception, match="a defect in the stage"):
        write_rows(rows, stage, total=400, progress=Progress("caption", io.StringIO()), rows_per_part=50)
    assert stage.store.manifest("captions") is None
    assert stage.read(["image_id"]).num_rows % 50 == 0


class Refused:
    """An actor that fails every row, a batch in 50 ms."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        time.sleep(0.05)
        table = captions(batch)
        texts = pa.array(["wrong_category"] * table.num_rows)
        return table.set_column(table.schema.get_field_index("status"), "status", texts)


def test_a_limit_that_is_sure_to_be_passed_ends_the_work_and_its_actors(ray_session: None, tmp_path: Path):
    import ray

    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "k1")
    rows = ray.data.range(4000, override_num_blocks=200).map_batches(
        Refused, batch_format="pyarrow", batch_size=20, compute=ray.data.ActorPoolStrategy(size=1)
    )
    limit = FailureLimit("caption", stage, 0.1, 4000)
    with pytest.raises(StageFailed, match=r"of 4000 rows failed .*so the stage ended after \d+ rows"):
        write_rows(rows, stage, 4000, Progress("caption", io.StringIO()), rows_per_part=20, check=limit)
    written = stage.read(["image_id"]).num_rows
    assert 400 < written < 4000
    assert not [thread for thread in threading.enumerate() if "StreamingExecutor" in thread.name]
    deadline = time.monotonic() + 60  # Ray tells of an actor's end a moment later
    while (alive := actors("Refused")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive
    assert stage.read(["image_id"]).num_rows - written <= 60  # what was in flight, and nothing after it

    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "k1")  # the next run tries failed rows again
    assert stage.read(["image_id"]).num_rows == 0
    rows = ray.data.range(200).map_batches(captions, batch_format="pyarrow", batch_size=50)
    limit = FailureLimit("caption", stage, 0.1, 200)
    write_rows(rows, stage, 200, Progress("caption", io.StringIO()), check=limit)
    assert stage.commit({}, {}).counts == {"ok": 180, "empty": 20}


def test_rows_of_an_earlier_run_count_for_the_limit(ray_session: None, tmp_path: Path):
    import ray

    stage = Store(str(tmp_path)).stage("captions", CAPTIONS, "k1")
    stage.write(captions(pa.table({"id": [n for n in range(190) if n % 10]})))
    rows = ray.data.from_arrow(pa.table({"id": [0, 10, 20, 191]})).map_batches(
        captions, batch_format="pyarrow"
    )
    with pytest.raises(StageFailed, match="3 of 175 rows failed"):
        limit = FailureLimit("caption", stage, 0.01, 175)
        write_rows(rows, stage, 175, Progress("caption", io.StringIO()), check=limit)
    assert stage.statuses() == {"ok": 172, "empty": 3}
    stage.drop_failed()
    write_rows(
        rows, stage, 175, Progress("caption", io.StringIO()), check=FailureLimit("caption", stage, 0.02, 175)
    )


def actors(name: str) -> list[str]:
    """States of the actors whose class has `name` in its own, of those that are alive."""
    from ray._private.state import actors as all_actors

    return [a["State"] for a in all_actors().values() if name in a["ActorClassName"] and a["State"] != "DEAD"]


def test_a_killed_run_is_taken_up_where_it_stopped(ray_session: None, tmp_path: Path):
    """SIGKILL of the driver half-way; the next run does only what is missing and finds all rows once."""
    import ray

    workspace = tmp_path / "w"
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.test_dataflow", str(workspace)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=out,
        )
    part_files = workspace / "captions" / "data-k1"
    try:
        wait_until(lambda: len(list(part_files.glob("part-*.parquet"))) >= 5, driver, log)
    finally:
        driver.kill()
        driver.wait()

    stage = Store(str(workspace)).stage("captions", CAPTIONS, "k1")
    done = stage.done("image_id")
    assert 90 <= len(done) < 2000
    todo = [n for n in range(2000) if f"i{n}" not in done]
    rows = ray.data.from_arrow(pa.table({"id": todo})).map_batches(captions, batch_format="pyarrow")
    counts = write_rows(rows, stage, total=2000, progress=Progress("caption", io.StringIO()))
    assert counts.total() == len(todo)
    manifest = stage.commit({}, {})
    assert manifest.counts == {"ok": 1800, "empty": 200}
    ids = stage.store.read("captions", ["image_id"]).column(0).to_pylist()
    assert sorted(ids) == sorted(f"i{n}" for n in range(2000))


def run_slowly(workspace: str) -> None:
    """The run that is killed: 20 rows in 0.3 s."""
    import ray

    def slow(batch: pa.Table) -> pa.Table:
        time.sleep(0.3)
        return captions(batch)

    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 * 1024**2,
    )
    stage = Store(workspace).stage("captions", CAPTIONS, "k1")
    rows = ray.data.range(2000, override_num_blocks=100)
    rows = rows.map_batches(slow, batch_format="pyarrow", batch_size=20)
    write_rows(rows, stage, total=2000, progress=Progress("caption"), rows_per_part=20)


if __name__ == "__main__":
    run_slowly(sys.argv[1])
