"""One driver a version: a file with a heartbeat says who makes it, so that a second driver is refused.

    <workspace>/<name>/lease-<key>-<n>.json         who makes data-<key>; the highest n holds

    >>> lease = take(filesystem, "w/pairs", "s3://w/pairs", "3fa9c1d2e4b5")          # doctest: +SKIP
    >>> lease.check()       # StageBusy if another driver has taken it since         # doctest: +SKIP
    >>> lease.release()                                                              # doctest: +SKIP

A driver of this machine that ended is told by its process id, so what it left is taken over at once. Of one
on another machine only the heartbeat is seen. Clocks of two machines may differ, so it is our own clock that
measures how long the file stays as it is: a heartbeat within EXPIRY_S means alive, none means dead.

Taking over is making the file with the next number. On a local path a file is made for one caller only. An
object store has no such call here: two drivers that begin within the same second may both write, the later
one wins, and the other finds out at its next check, before it deletes or commits anything.
"""

import json
import os
import queue
import socket
import threading
import time
import uuid
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pyarrow.fs

from facap.errors import StageBusy, WorkspaceError

HEARTBEAT_S = 10.0
EXPIRY_S = 60.0  # without a heartbeat: several are missed, so the driver is dead or stopped
POLL_S = 0.5  # between two looks at the heartbeat of another machine
SETTLE_S = 1.0  # on object stores: in which a driver that began with us will have written


@dataclass(frozen=True)
class Holder:
    """The process that makes a version; the content of a lease file."""

    owner: str  # of this very lease
    host: str
    machine: str  # tells machines, and containers of one machine, apart; "": cannot be told
    pid: int
    started: int  # of the process, in the machine's ticks: a process id is used again
    since: str
    beat: int = 0
    beat_at: str = ""

    def ended(self) -> bool | None:
        """Whether the process is gone; None if it is not one of this machine."""
        if not self.machine or self.machine != _machine():
            return None
        return _ticks(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}, last heartbeat {self.beat_at}"


def take(fs: pyarrow.fs.FileSystem, folder: str, shown: str, key: str) -> "Lease":
    """The lease of version `key` in `folder`; `shown`: how users write the folder.

    Whatever this process holds already it is given again. Raises StageBusy if another one holds it. Where the
    holder is on another machine it takes up to a heartbeat to know that it lives, EXPIRY_S that it does not.
    """
    with _taking:
        held = _held.get(f"{shown} {key}")
        if held is not None and held.is_ours():
            return held
        lease = _take(_Files(fs, folder, shown, key))
        _held[f"{shown} {key}"] = lease
        return lease


def holder_of(fs: pyarrow.fs.FileSystem, folder: str, key: str) -> Holder | None:
    """Who holds the lease or has left it behind, as far as a look tells; None if there is none."""
    found = _Files(fs, folder, folder, key).top()
    return found[1].holder if found is not None else None


class Lease:
    """Held until `release`, until nobody in this process knows it any more, or until the process ends."""

    def __init__(self, files: "_Files", number: int, holder: Holder) -> None:
        self._heart = _Heart(files, number, holder)
        self._end = weakref.finalize(self, self._heart.stop)

    def is_ours(self) -> bool:
        """Whether this process, not one that it was forked from, holds it still."""
        return self._end.alive and self._heart.holder.pid == os.getpid()

    def check(self) -> None:
        """Raises StageBusy if another driver has taken the lease; to be called before anything is deleted."""
        if self.is_ours():
            self._heart.check()

    def release(self) -> None:
        """Ends the heartbeat and removes the file; twice is as good as once."""
        self._end()


_taking = threading.RLock()
_held: "weakref.WeakValueDictionary[str, Lease]" = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class _Seen:
    """A lease file at one moment."""

    raw: bytes

    @property
    def holder(self) -> Holder:
        try:
            return Holder(**json.loads(self.raw))
        except (ValueError, TypeError):  # being written, or by another version of this code
            return Holder("", "a machine that does not say so", "", 0, 0, "an unknown time")


class _Files:
    """The lease files of one version."""

    def __init__(self, fs: pyarrow.fs.FileSystem, folder: str, shown: str, key: str) -> None:
        self.fs, self.folder, self.shown, self.key = fs, folder, shown, key
        self.is_local = isinstance(fs, pyarrow.fs.LocalFileSystem)
        self._prefix = f"lease-{key}-"

    def name(self, number: int) -> str:
        return f"{self._prefix}{number}.json"

    def numbers(self) -> list[int]:
        selector = pyarrow.fs.FileSelector(self.folder, allow_not_found=True)
        names = [info.base_name for info in self.fs.get_file_info(selector)]
        found = [
            n[len(self._prefix) : -5] for n in names if n.startswith(self._prefix) and n.endswith(".json")
        ]
        return sorted(int(number) for number in found if number.isdecimal())

    def read(self, number: int) -> _Seen | None:
        try:
            with self.fs.open_input_stream(f"{self.folder}/{self.name(number)}") as source:
                return _Seen(source.read())
        except FileNotFoundError:
            return None

    def top(self) -> tuple[int, _Seen] | None:
        """The file that counts, and its number."""
        for number in reversed(self.numbers()):
            if (seen := self.read(number)) is not None:
                return number, seen
        return None

    def create(self, number: int, holder: Holder) -> bool:
        """Makes the file; of several callers at a time one gets True."""
        if self.is_local:
            os.makedirs(self.folder, exist_ok=True)
            try:
                with open(f"{self.folder}/{self.name(number)}", "x") as out:
                    out.write(json.dumps(asdict(holder)))
            except FileExistsError:
                return False
            return True
        self.fs.create_dir(self.folder, recursive=True)
        if self.read(number) is not None:
            return False
        self.write(number, holder)
        time.sleep(SETTLE_S)
        seen = self.read(number)
        return seen is not None and seen.holder.owner == holder.owner

    def write(self, number: int, holder: Holder) -> None:
        """Writes the file anew, there whole or not at all."""
        path = f"{self.folder}/{self.name(number)}"
        target = f"{path}.{uuid.uuid4().hex}.tmp" if self.is_local else path  # an object is put whole
        with self.fs.open_output_stream(target) as out:
            out.write(json.dumps(asdict(holder)).encode())
        if target != path:
            self.fs.move(target, path)

    def remove(self, number: int) -> None:
        try:
            self.fs.delete_file(f"{self.folder}/{self.name(number)}")
        except FileNotFoundError:
            return


class _Heart:
    """The heartbeat of one lease; knows nothing of the Lease, which may be forgotten while this runs."""

    def __init__(self, files: _Files, number: int, holder: Holder) -> None:
        self.files, self.number, self.holder = files, number, holder
        self._lock = threading.RLock()
        # A garbage collection may free the Lease, and so call `stop`, in any thread and at any line: in the
        # heart's too. An Event's set would wait for its own wait there; a SimpleQueue's put never waits.
        self._over, self._wake = False, queue.SimpleQueue[None]()
        self._thread = threading.Thread(target=self._run, name=f"lease-{files.key}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over:
            with suppress(queue.Empty):
                self._wake.get(timeout=HEARTBEAT_S)
            with self._lock:
                try:
                    if self._over or self._taken_by() is not None:
                        break  # the driver finds out when it checks
                    self.holder = replace(self.holder, beat=self.holder.beat + 1, beat_at=_now())
                    self.files.write(self.number, self.holder)
                except OSError:  # the file system does not answer; it may at the next beat
                    continue
        self._remove()

    def _taken_by(self) -> str | None:
        """Who has it, in words, if that is not this process any more."""
        # Whoever takes it makes the file with the next number first and removes ours then.
        seen, later = self.files.read(self.number), self.files.read(self.number + 1)
        if seen is not None and seen.holder.owner == self.holder.owner and later is None:
            return None
        found = self.files.top()
        return str(found[1].holder) if found is not None else "its lease file was removed"

    def check(self) -> None:
        try:
            taken_by = self._taken_by()
        except OSError as error:
            raise WorkspaceError(f"the lease in {self.files.shown} cannot be read: {error}") from error
        if taken_by is not None:
            raise StageBusy(
                f"{_what(self.files)} was taken over while this run made no heartbeat ({taken_by}); this run "
                "stops, and has deleted and committed nothing since. Run again when the other is done"
            )

    def stop(self) -> None:
        if self.holder.pid != os.getpid():  # a fork of the process that holds it
            return
        self._over = True
        self._wake.put(None)
        if threading.get_ident() != self._thread.ident:  # the heart may be in a write; it removes after it
            self._remove()

    def _remove(self) -> None:
        """Removes the file if it is still ours."""
        with self._lock:
            try:
                if self._taken_by() is None:
                    self.files.remove(self.number)
            except OSError:  # it expires
                return


def _take(files: _Files) -> Lease:
    while True:
        found = files.top()
        if found is not None and not _is_dead(files, *found):
            _, seen = files.top() or found
            raise StageBusy(
                f"{_what(files)} is being made by another run ({seen.holder}); wait until it ends, or stop "
                f"it, then run again (if it is gone for certain, remove {files.shown}/{files.name(found[0])})"
            )
        number = 1 if found is None else found[0] + 1
        holder = Holder(
            uuid.uuid4().hex,
            socket.gethostname(),
            _machine(),
            os.getpid(),
            _ticks(os.getpid()) or 0,
            since=_now(),
            beat_at=_now(),
        )
        if files.create(number, holder):
            for earlier in files.numbers() if found is not None else []:
                if earlier < number:
                    files.remove(earlier)
            return Lease(files, number, holder)


def _is_dead(files: _Files, number: int, seen: _Seen) -> bool:
    ended = seen.holder.ended()
    if ended is not None:
        return ended
    until = time.monotonic() + EXPIRY_S
    while time.monotonic() < until:
        time.sleep(POLL_S)
        if (now := files.read(number)) is None or now.raw != seen.raw:
            return now is None  # it was released, or it beats
    return True


def _what(files: _Files) -> str:
    return f"version {files.key} of {files.shown}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _machine() -> str:
    """This boot of this machine, and which of its containers; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _ticks(pid: int) -> int | None:
    """When a process began, in ticks since the boot; None if it is gone or only waits to be buried."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(rest[18])
