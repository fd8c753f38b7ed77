"""What lies in a workspace and can go as one: versions, a training's checkpoints, champions, leftovers.

    <name>/data-<key>/                     a version of a dataset or artefact
    train-runs/<run>-<key>/                the checkpoints of a training; go with the version of `model`
    champions/<model>-v<version>-<hash>/   a registered model, downloaded
    *.tmp, lease-<key>-<n>.json            left by a write or a run that was killed

Only these are looked at. All else in a workspace stays, and so does all that a link leads to.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.fs
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from facap.errors import WorkspaceError
from facap.store import KEY_LENGTH, Store

VERSION = re.compile(rf"data-([0-9a-f]{{{KEY_LENGTH}}})")
TRAIN_RUN = re.compile(rf".+-([0-9a-f]{{{KEY_LENGTH}}})")
LEASE = re.compile(rf"lease-([0-9a-f]{{{KEY_LENGTH}}})-\d+\.json")
CHAMPION = re.compile(r"champions/([^/\s\"'\\]+)")  # as an address in a text has it
LAST_FILE = {"model": "training.json", "index": "index.json"}  # is written last: the version is complete
TRAIN_RUNS, CHAMPIONS, REPORTS = "train-runs", "champions", "reports"
NO_DATASETS = {TRAIN_RUNS, CHAMPIONS, REPORTS, "logs", "mlartifacts"}
TEXT_BYTES = 64 * 2**20  # of a version's JSON files; the index lists the parts of IMAGES


@dataclass(frozen=True)
class Entry:
    """Something that can go. `path` is below the workspace; `changed`: its last change, s since 1970."""

    kind: str  # version, checkpoints, champion, temporary or lease
    name: str  # of the dataset or artefact that it belongs to; of a champion's folder
    key: str  # of the version; "" if it belongs to none
    path: str
    size_bytes: int
    changed: float
    is_complete: bool = False  # a version of LAST_FILE that has this file


class Workspace:
    """The files of a store, below its root and never beyond a link."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fs, base = FileSystem.from_uri(store.root)
        self.base = base.rstrip("/")
        self.is_local = isinstance(self.fs, pyarrow.fs.LocalFileSystem)

    def entries(self) -> list[Entry]:
        """All that can go, by path."""
        return sorted(self._entries(), key=lambda entry: entry.path)

    def datasets(self) -> list[str]:
        """Names of the folders that may hold a dataset or artefact."""
        return [i.base_name for i in self._list("") if _is_folder(i) and not _is_foreign(i.base_name)]

    def is_foreign(self, name: str) -> bool:
        """Whether a folder's manifest.json is none of ours: it cannot be read, and no version is there."""
        folder = FileSelector(f"{self.base}/{name}", allow_not_found=True)
        if name == "champion" or any(VERSION.fullmatch(i.base_name) for i in self.fs.get_file_info(folder)):
            return False  # a decision has no files; a version may be a link
        try:
            self.store.manifest(name)
        except WorkspaceError:
            return True
        return False

    def texts(self, entry: Entry) -> str:
        """The JSON files right in a version's folder, as one text; they may name other versions."""
        found, size = [], 0
        for info in self._list(entry.path) if entry.kind == "version" else []:
            size += info.size or 0
            if info.base_name.endswith(".json") and size <= TEXT_BYTES:
                with self.fs.open_input_stream(info.path) as source:
                    found.append(source.read().decode(errors="replace"))
        return "\n".join(found)

    def remove(self, entry: Entry) -> None:
        """Removes it; there is no way back."""
        path = f"{self.base}/{entry.path}"
        assert ".." not in entry.path.split("/") and not self._leads_away(entry.path), entry
        if self.fs.get_file_info(path).type == FileType.Directory:
            self.fs.delete_dir(path)
        else:
            self.fs.delete_file(path)

    def _entries(self) -> Iterator[Entry]:
        for name in self.datasets():
            for info in self._list(name):
                if _is_folder(info) and (found := VERSION.fullmatch(info.base_name)):
                    yield self._folder("version", name, found[1], f"{name}/{info.base_name}")
                    yield from self._temporary(name, f"{name}/{info.base_name}", found[1], deep=True)
                elif info.is_file and (found := LEASE.fullmatch(info.base_name)):
                    yield _file("lease", name, found[1], f"{name}/{info.base_name}", info)
            yield from self._temporary(name, name)
        yield from self._temporary(REPORTS, REPORTS)
        for info in self._list(TRAIN_RUNS):
            if _is_folder(info) and (found := TRAIN_RUN.fullmatch(info.base_name)):
                yield self._folder("checkpoints", "model", found[1], f"{TRAIN_RUNS}/{info.base_name}")
        for info in self._list(CHAMPIONS):
            if _is_folder(info):
                yield self._folder("champion", info.base_name, "", f"{CHAMPIONS}/{info.base_name}")

    def _temporary(self, name: str, folder: str, key: str = "", deep: bool = False) -> Iterator[Entry]:
        for info in self._list(folder, deep):
            if info.is_file and info.base_name.endswith(".tmp"):
                yield _file("temporary", name, key, info.path[len(self.base) + 1 :], info)

    def _folder(self, kind: str, name: str, key: str, path: str) -> Entry:
        infos = [self.fs.get_file_info(f"{self.base}/{path}"), *self._list(path, deep=True)]
        size = sum(info.size or 0 for info in infos if info.is_file)
        last = f"{self.base}/{path}/{LAST_FILE.get(name, '')}"
        is_complete = kind == "version" and any(info.path == last for info in infos)
        return Entry(kind, name, key, path, size, max(map(_changed, infos)), is_complete)

    def _list(self, path: str, deep: bool = False) -> list[FileInfo]:
        """What lies in a folder; nothing if a link leads there, and no links that lie in it."""
        if self._leads_away(path):
            return []
        selector = FileSelector(f"{self.base}/{path}".rstrip("/"), recursive=deep, allow_not_found=True)
        infos = self.fs.get_file_info(selector)
        return [i for i in infos if not self._leads_away(i.path[len(self.base) + 1 :])]

    def _leads_away(self, path: str) -> bool:
        """Whether a part of a path below the workspace is a link."""
        if not self.is_local or not path:
            return False
        parts = path.split("/")
        return any(os.path.islink("/".join([self.base, *parts[: n + 1]])) for n in range(len(parts)))


def _is_foreign(name: str) -> bool:
    return name in NO_DATASETS or name.startswith(".")


def _is_folder(info: FileInfo) -> bool:
    return bool(info.type == FileType.Directory)


def _changed(info: FileInfo) -> float:
    return info.mtime.timestamp() if info.mtime is not None else 0.0


def _file(kind: str, name: str, key: str, path: str, info: FileInfo) -> Entry:
    return Entry(kind, name, key, path, info.size or 0, _changed(info))
