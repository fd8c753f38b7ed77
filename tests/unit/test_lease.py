"""One driver a version: real processes that hold, are killed, sleep, or come at the same moment."""

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from facap import lease
from facap.errors import StageBusy
from facap.lease import Holder, holder_of, take
from facap.schemas import CAPTIONS, PAIRS, from_rows
from facap.store import Store
from tests.unit.test_store import caption, pair

KEY = "0123456789ab"
HOLD = """
    import sys, time
    from facap.schemas import PAIRS, from_rows
    from facap.store import Store
    stage = Store({root!r}).stage("pairs", PAIRS, {key!r})
    row = dict(target_id="t", category="dress", similarity=0.5, split="train")
    stage.write(from_rows([row | dict(reference_id=f"r{{n}}") for n in range(50)], PAIRS))
    print("held", flush=True)
    sys.stdin.readline()
    stage.write(from_rows([row | dict(reference_id=f"r{{n}}") for n in range(50, 80)], PAIRS))
    stage.commit({{}}, {{}}, expected=80)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "workspace"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other machines are waited for in moments."""
    monkeypatch.setattr(lease, "EXPIRY_S", 1.0)
    monkeypatch.setattr(lease, "POLL_S", 0.02)
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)


@pytest.fixture
def never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait for a heartbeat is an error."""
    monkeypatch.setattr(lease, "POLL_S", None)


@contextmanager
def driver(store: Store) -> Iterator[subprocess.Popen]:
    """Another process that makes PAIRS and holds them until it is told to go on."""
    script = textwrap.dedent(HOLD.format(root=store.root, key=KEY))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def go_on(process: subprocess.Popen) -> int:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.wait(timeout=60)


def lease_files(store: Store, name: str = "pairs") -> list[str]:
    return sorted(path.name for path in Path(store.root, name).glob("lease-*"))


def elsewhere(store: Store, number: int = 1, **changes: Any) -> Holder:
    """A lease that a process on another machine holds."""
    here = Holder("theirs", "node-7", "another boot", 4711, 1, "2026-01-01T00:00:00+00:00")
    holder = replace(here, **changes)
    folder = Path(store.root, "pairs")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"lease-{KEY}-{number}.json").write_text(json.dumps(asdict(holder)))
    return holder


def test_a_second_driver_is_refused_in_one_sentence_and_the_first_ends_right(store: Store, never_waits: None):
    with driver(store) as first:
        with pytest.raises(StageBusy) as refused:
            store.stage("pairs", PAIRS, KEY)
        said = str(refused.value)
        assert f"process {first.pid} on " in said and "since " in said and "last heartbeat " in said
        assert "wait until it ends, or stop it, then run again" in said and "\n" not in said
        assert store.stage("pairs", PAIRS, "ba9876543210").finished() is None  # another version is free
        assert go_on(first) == 0
    assert store.require("pairs").counts == {"ok": 80}
    assert lease_files(store) == []


def test_what_a_killed_driver_held_is_taken_over_at_once(store: Store, never_waits: None):
    with driver(store) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=60)
        assert lease_files(store) == [f"lease-{KEY}-1.json"]
        stage = store.stage("pairs", PAIRS, KEY)
    assert lease_files(store) == [f"lease-{KEY}-2.json"]
    assert len(stage.done("reference_id")) == 50
    stage.write(from_rows([pair(f"r{n}") for n in range(50, 80)], PAIRS))
    assert stage.commit({}, {}, expected=80).rows == 80
    assert lease_files(store) == []


def test_a_killed_driver_that_its_parent_has_not_buried_counts_as_gone(store: Store, never_waits: None):
    with driver(store) as first:
        first.send_signal(signal.SIGKILL)
        while Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()
        assert store.stage("pairs", PAIRS, KEY).finished() is None


def test_a_process_id_that_is_used_again_is_not_the_holder(store: Store, never_waits: None):
    machine, pid = lease._machine(), os.getpid()
    elsewhere(store, machine=machine, pid=pid, started=(lease._ticks(pid) or 0) - 1)
    assert store.stage("pairs", PAIRS, KEY).finished() is None


def test_a_stopped_driver_of_this_machine_keeps_its_version(store: Store):
    with driver(store) as first:
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(StageBusy):
            store.stage("pairs", PAIRS, KEY)
        first.send_signal(signal.SIGCONT)
        assert go_on(first) == 0
    assert store.require("pairs").rows == 80


def test_of_another_machine_no_heartbeat_means_dead_whatever_its_clock_says(store: Store, quick: None):
    elsewhere(store, since="2099-01-01T00:00:00+00:00", beat_at="2099-01-01T00:00:00+00:00")
    assert store.stage("pairs", PAIRS, KEY).finished() is None


def test_of_another_machine_a_heartbeat_means_alive_whatever_its_clock_says(
    store: Store, quick: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "EXPIRY_S", 60.0)
    elsewhere(store, beat_at="2001-01-01T00:00:00+00:00")
    beating = threading.Timer(0.3, lambda: elsewhere(store, beat=1, beat_at="2001-01-01T00:00:10+00:00"))
    beating.start()
    with pytest.raises(StageBusy, match=r"process 4711 on node-7, .* last heartbeat 2001-01-01T00:00:10"):
        store.stage("pairs", PAIRS, KEY)
    beating.join()


def test_of_another_machine_a_release_lets_the_next_one_in(
    store: Store, quick: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "EXPIRY_S", 60.0)
    elsewhere(store)
    file = Path(store.root, "pairs", f"lease-{KEY}-1.json")
    threading.Timer(0.3, file.unlink).start()
    assert store.stage("pairs", PAIRS, KEY).finished() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": 3}', b"\xff\xfe"])
def test_a_lease_file_that_says_nothing_is_waited_for_like_one_of_another_machine(
    store: Store, quick: None, content: bytes
):
    Path(store.root, "pairs").mkdir(parents=True)
    Path(store.root, "pairs", f"lease-{KEY}-3.json").write_bytes(content)
    stage = store.stage("pairs", PAIRS, KEY)
    assert stage.finished() is None and lease_files(store) == [f"lease-{KEY}-4.json"]


def test_a_driver_whose_version_was_taken_deletes_and_commits_nothing(store: Store):
    stage = store.stage("captions", CAPTIONS, KEY)
    stage.write(from_rows([caption("a"), caption("b", "empty")], CAPTIONS))
    folder = Path(store.root, "captions")
    taken = replace(holder_of(store._fs, str(folder), KEY), owner="theirs", host="node-7", pid=4711)  # type: ignore[type-var]
    (folder / f"lease-{KEY}-2.json").write_text(json.dumps(asdict(taken)))
    before = {path.name: path.stat().st_mtime_ns for path in Path(stage.folder).iterdir()}
    (part,) = stage.parts("part-")
    for act in (
        stage.drop_failed,
        stage.drop_repeated,
        partial(stage.replace, part, stage.read_part(part)),
        partial(stage.commit, {}, {}, expected=2),
    ):
        with pytest.raises(StageBusy, match=r"was taken over .*process 4711 on node-7.* this run stops"):
            act()
    assert {path.name: path.stat().st_mtime_ns for path in Path(stage.folder).iterdir()} == before
    assert store.manifest("captions") is None
    del stage, act
    gc.collect()
    assert lease_files(store, "captions")[-1] == f"lease-{KEY}-2.json"  # what is another's is not removed


def test_a_driver_whose_lease_file_was_removed_stops_too(store: Store):
    stage = store.stage("pairs", PAIRS, KEY)
    stage.write(from_rows([pair("a")], PAIRS))
    Path(store.root, "pairs", f"lease-{KEY}-1.json").unlink()
    with pytest.raises(StageBusy, match="its lease file was removed"):
        stage.commit({}, {})


def test_the_heart_beats_while_it_is_held_and_not_after(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    stage = store.stage("pairs", PAIRS, KEY)
    folder = str(Path(store.root, "pairs"))

    def beat() -> int:
        held = holder_of(store._fs, folder, KEY)
        assert held is not None
        return held.beat

    def hearts() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == f"lease-{KEY}"]

    while beat() < 3:
        time.sleep(0.01)
    (heart,) = hearts()
    stage.write(from_rows([pair("a")], PAIRS))
    stage.commit({}, {}, expected=1)
    heart.join(timeout=30)
    assert hearts() == []
    assert lease_files(store) == []


@pytest.mark.parametrize("beats", [0, 1, 2])
def test_a_collection_in_the_heart_lets_the_version_go_at_whatever_line_it_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch, beats: int
):
    """The Lease is in a cycle, and it is the heart's thread that collects it."""
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.002)
    folder = str(Path(store.root, "pairs"))
    dropped, collected, lines, wanted = threading.Event(), [], [], 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        if not threading.current_thread().name.startswith("lease-") or collected or not dropped.is_set():
            return trace
        lines.append(event)
        if len(lines) > wanted:
            collected.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            gc.collect()
        return trace

    def hold() -> threading.Thread:
        cycle: list[Any] = [take(store._fs, folder, folder, KEY)]
        cycle.append(cycle)
        heart: threading.Thread = cycle[0]._heart._thread
        return heart

    places = set()
    gc.disable()
    gc.freeze()  # what was there before is not looked through each time
    threading.settrace(trace)
    try:
        for at in range(beats * 40, (beats + 1) * 40):
            wanted = at
            dropped.clear()
            collected.clear()
            lines.clear()
            heart = hold()
            dropped.set()
            heart.join(timeout=30)
            assert not heart.is_alive(), f"hangs after a collection at {collected}"
            assert lease_files(store) == [], collected
            places.update(collected)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
        gc.unfreeze()
        gc.enable()
    assert len(places) > 10
    assert take(store._fs, folder, folder, KEY).is_ours()


def test_an_error_lets_the_version_go(store: Store):
    def run() -> None:
        stage = store.stage("pairs", PAIRS, KEY)
        stage.write(from_rows([pair("a")], PAIRS))
        assert lease_files(store)
        raise ValueError("a defect in the stage")

    with suppress(ValueError):
        run()
    gc.collect()
    assert lease_files(store) == []


def test_a_process_that_ends_with_a_version_half_made_ends_and_lets_it_go(store: Store):
    script = f"""
        from facap.schemas import PAIRS
        from facap.store import Store
        stage = Store({store.root!r}).stage("pairs", PAIRS, "{KEY}")
        raise SystemExit(3)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=120, capture_output=True)
    assert (ended.returncode, ended.stderr) == (3, b"")
    assert lease_files(store) == []


def test_a_fork_of_the_driver_neither_holds_nor_releases(store: Store):
    stage = store.stage("pairs", PAIRS, KEY)
    child = os.fork()
    if child == 0:
        assert stage.lease is not None
        stage.lease.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert lease_files(store) == [f"lease-{KEY}-1.json"]
    stage.write(from_rows([pair("a")], PAIRS))
    assert stage.commit({}, {}, expected=1).rows == 1


def _tries(root: str, barrier: Any, found: Any) -> None:
    store = Store(root)
    barrier.wait()
    try:
        stage = store.stage("pairs", PAIRS, KEY)
        found.put("held")
        barrier.wait()  # until the others have tried
        assert stage.lease is not None
        stage.lease.check()
    except StageBusy:
        found.put("refused")
        barrier.wait()


@pytest.mark.parametrize("left_behind", [False, True])
def test_of_drivers_that_come_at_the_same_moment_one_gets_it(store: Store, left_behind: bool):
    if left_behind:
        elsewhere(store, machine=lease._machine(), pid=2**22 + 1)
    spawned = multiprocessing.get_context("spawn")
    barrier, found = spawned.Barrier(4), spawned.Queue()
    processes = [spawned.Process(target=_tries, args=(store.root, barrier, found)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sorted(found.get(timeout=120) for _ in processes) == ["held", "refused", "refused", "refused"]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0


def test_where_files_cannot_be_made_for_one_caller_only_the_later_one_wins(tmp_path: Path, quick: None):
    """As on an object store: two write, both read back."""
    fs = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    first = take(fs, "pairs", "s3://bucket/pairs", KEY)
    first.check()
    files = lease._Files(fs, "pairs", "s3://bucket/pairs", KEY)
    assert files.is_local is False
    other = Holder("theirs", "node-7", "another boot", 4711, 1, "2026-01-01T00:00:00+00:00")
    assert files.create(1, other) is False
    files.write(1, other)  # it had looked before the first one wrote
    with pytest.raises(StageBusy, match="node-7"):
        first.check()
    first.release()
    assert holder_of(fs, "pairs", KEY) == other
    second = take(fs, "pairs", "s3://bucket/pairs", KEY)  # it never beat
    second.check()
    second.release()
    assert holder_of(fs, "pairs", KEY) is None
