"""Datasets and artefacts in one workspace, on a local path or an s3:// URI.

    <workspace>/<name>/manifest.json                the finished version; written last, atomically
    <workspace>/<name>/data-<key>/part-*.parquet    its rows (or any files, for an artefact)

A version is named by its key: a hash of the stage's config, version and the fingerprints of its
inputs. So an equal key means nothing to do, and a killed stage goes on where it stopped:

    >>> stage = store.stage("pairs", PAIRS, key)         # doctest: +SKIP
    >>> if not stage.finished():
    ...     todo = [row for row in rows if row["reference_id"] not in stage.done("reference_id")]
    ...     stage.write(from_rows(todo, PAIRS))          # one part, there whole or not at all
    ...     inputs = {"captions": store.fingerprint("captions")}
    ...     stage.commit(config.model_dump(), inputs, expected=len(rows))

Rows that failed go to parts of their own, which opening the stage anew drops: a resumed stage
tries them again. After the commit they are final.

One driver makes a version at a time: opening one that is not finished takes its lease (see facap.lease),
which ends with the commit, or when the stage is forgotten, as after an error.
"""

import hashlib
import json
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

import facap
from facap.errors import ContractError, DatasetMissing, WorkspaceError
from facap.lease import Lease, take
from facap.schemas import OK, conform, dataset_name, key_columns, schema_version

KEY_LENGTH = 12  # hex digits of a version's key; enough for thousands of versions a workspace


@dataclass(frozen=True)
class Manifest:
    """What a finished version holds and what it was made from; the content of manifest.json."""

    name: str
    key: str
    schema: str | None
    schema_version: int | None
    files: list[str]
    rows: int
    counts: dict[str, int] = field(default_factory=dict)  # status -> rows
    inputs: dict[str, str] = field(default_factory=dict)  # input name -> its fingerprint
    config: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    code_version: str = ""
    created_at: str = ""
    seconds: float = 0.0

    @property
    def fingerprint(self) -> str:
        """Identifies the content: downstream keys are made from it."""
        return fingerprint([self.name, self.key, self.rows, sorted(self.files)])


def fingerprint(value: Any) -> str:
    """Hash (hex) of anything JSON can say, with dicts in sorted order."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def stage_key(stage: str, version: int, config: Any, inputs: dict[str, str]) -> str:
    """The key of what a stage makes; `version` is raised when the stage's code changes meaning."""
    return fingerprint([stage, version, config, inputs])


@cache
def code_version() -> str:
    """The package's version and, in a checkout, the commit."""
    root = Path(__file__).resolve().parents[2]
    commit = ""
    if (root / ".git").exists():
        result = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
        )
        commit = "+" + result.stdout.strip() if result.returncode == 0 else ""
    return facap.__version__ + commit


class Store:
    """One workspace. `root` is a local path or an s3:// URI; the folder is made on first write."""

    def __init__(self, root: str) -> None:
        self.root = root if "://" in root else str(Path(root).expanduser().resolve())
        try:
            self._fs, self._base = pyarrow.fs.FileSystem.from_uri(self.root)
        except (pa.ArrowInvalid, OSError) as error:
            raise WorkspaceError(
                f"workspace '{root}' is neither a path nor a URI we can open: {error}"
            ) from error

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    @property
    def is_local(self) -> bool:
        """Whether the workspace is a plain folder on this machine."""
        return "://" not in self.root

    def path(self, *parts: str) -> str:
        """A path below the workspace, in the form that pyarrow and Ray Data take."""
        return "/".join([self.root.rstrip("/"), *parts])

    def check_writable(self) -> None:
        """Raises WorkspaceError unless a file can be written and removed here."""
        probe = f"{self._base}/.probe-{uuid.uuid4().hex}"
        try:
            self._fs.create_dir(self._base, recursive=True)
            with self._fs.open_output_stream(probe) as out:
                out.write(b"facap")
            self._fs.delete_file(probe)
        except OSError as error:
            raise WorkspaceError(
                f"workspace '{self.root}' cannot be written ({error}); choose another with --workspace"
            ) from error

    def manifest(self, name: str) -> Manifest | None:
        """The finished version of `name`, or None."""
        try:
            with self._fs.open_input_stream(f"{self._base}/{name}/manifest.json") as source:
                return Manifest(**json.loads(source.read()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise WorkspaceError(f"{self.path(name, 'manifest.json')} cannot be read: {error}") from error

    def require(self, name: str) -> Manifest:
        """The finished version of `name`; raises DatasetMissing if there is none."""
        manifest = self.manifest(name)
        if manifest is None:
            raise DatasetMissing(f"{name.upper()} is not in {self.root} yet; run the job that makes it first")
        return manifest

    def fingerprint(self, name: str) -> str:
        """The fingerprint of the finished version of `name`."""
        return self.require(name).fingerprint

    def files(self, name: str) -> list[str]:
        """Full paths of the files of the finished version."""
        manifest = self.require(name)
        return [self.path(name, file) for file in manifest.files]

    def folder(self, name: str) -> str:
        """Full path of the folder that holds the files of the finished version."""
        return self.path(name, f"data-{self.require(name).key}")

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The whole finished dataset `name`, or some columns of it, as one table."""
        manifest = self.require(name)
        tables = [self.read_file(name, file, columns) for file in manifest.files]
        if not tables:
            raise DatasetMissing(
                f"{name.upper()} in {self.root} has no rows; run the job that makes it again"
            )
        return pa.concat_tables(tables)

    def read_file(self, name: str, file: str, columns: list[str] | None = None) -> pa.Table:
        """One file of `name`, as the manifest lists it, or some columns of it."""
        return self._read_part(f"{self._base}/{name}/{file}", columns)

    def _read_part(self, path: str, columns: list[str] | None) -> pa.Table:
        return pq.ParquetFile(path, filesystem=self._fs).read(columns=columns)

    def stage(self, name: str, schema: pa.Schema | None, key: str) -> "Stage":
        """The version `key` of `name`, finished or to be made; failed rows of a killed run are dropped.

        One that is to be made is this process's from here to the commit; StageBusy if another makes it.
        """
        stage = Stage(self, name, schema, key)
        if not stage.finished():
            stage.lease = self.lease(name, key)
            if stage.finished():  # by the driver that had the lease until now
                stage.lease.release()
            else:
                stage.drop_failed()
        return stage

    def lease(self, name: str, key: str) -> Lease:
        """The lease of the version `key` of `name`; StageBusy if another process holds it."""
        return take(self._fs, f"{self._base}/{name}", self.path(name), key)


class Stage:
    """One version of a dataset or artefact in the making. Picklable, so that workers write parts.

    Its driver has the lease, workers have none: they only write parts of their own.
    """

    lease: Lease | None = None

    def __init__(self, store: Store, name: str, schema: pa.Schema | None, key: str) -> None:
        self.store, self.name, self.schema, self.key = store, name, schema, key
        self.started = time.time()

    def __reduce__(self) -> tuple:
        return _open_stage, (self.store.root, self.name, self.schema, self.key)

    @property
    def folder(self) -> str:
        """Full path of the version's folder; artefacts put their files here before `commit`."""
        return self.store.path(self.name, f"data-{self.key}")

    @property
    def _dir(self) -> str:
        return f"{self.store._base}/{self.name}/data-{self.key}"

    def finished(self) -> Manifest | None:
        """The manifest, if the finished version is this one."""
        manifest = self.store.manifest(self.name)
        return manifest if manifest is not None and manifest.key == self.key else None

    def parts(self, prefix: str = "") -> list[str]:
        """File names of the parts written so far, sorted."""
        selector = pyarrow.fs.FileSelector(self._dir, allow_not_found=True)
        names = [info.base_name for info in self.store._fs.get_file_info(selector)]
        return sorted(n for n in names if n.endswith(".parquet") and n.startswith(prefix))

    def check_lease(self) -> None:
        """Raises StageBusy if another driver has taken this version over; nothing is deleted then."""
        if self.lease is not None:
            self.lease.check()

    def drop_failed(self) -> None:
        """Removes the parts of failed rows, so that they are tried again."""
        failed = self.parts("failed-")
        if failed:
            self.check_lease()
        for name in failed:
            self.store._fs.delete_file(f"{self._dir}/{name}")

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The rows written so far."""
        assert self.schema is not None
        tables = [self.store._read_part(f"{self._dir}/{part}", columns) for part in self.parts()]
        if tables:
            return pa.concat_tables(tables)
        empty = self.schema.empty_table()
        return empty if columns is None else empty.select(columns)

    def read_part(self, part: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of one part."""
        return self.store._read_part(f"{self._dir}/{part}", columns)

    def done(self, column: str) -> set[str]:
        """The values of an id column in the rows written so far."""
        return set(self.read([column]).column(column).to_pylist())

    def statuses(self) -> Counter:
        """Rows by status written so far; without such a column all are good."""
        assert self.schema is not None
        return _statuses(self.read(["status" if "status" in self.schema.names else self.schema.names[0]]))

    def write(self, table: pa.Table) -> Counter:
        """Writes rows as parts named after their content; returns rows by status.

        A retried write of the same rows replaces the part instead of adding one.
        """
        assert self.schema is not None, f"{self.name} is an artefact, not a dataset"
        table = conform(table, self.schema)
        if "status" not in table.column_names:
            self._write_part("part", table)
            return _statuses(table)
        ok = pc.equal(table.column("status"), OK)
        self._write_part("part", table.filter(ok))
        self._write_part("failed", table.filter(pc.invert(ok)))
        return _statuses(table)

    def replace(self, part: str, table: pa.Table) -> None:
        """Writes `table` in the place of the part named `part`, atomically."""
        assert self.schema is not None
        self.check_lease()
        self._put(f"{self._dir}/{part}", conform(table, self.schema))

    def drop_repeated(self) -> tuple[list[str], Counter]:
        """Keeps one row a key, a good one if there is one; returns the parts that hold them, rows by status.

        A task that is run again may split its rows otherwise, and a worker that outlives a killed
        run may write rows that the next run has taken up.
        """
        assert self.schema is not None
        self.check_lease()
        keys = key_columns(self.schema)
        told = [*keys, "status"] if "status" in self.schema.names else keys
        seen: set[tuple] = set()
        kept = []
        counts: Counter = Counter()
        for part in [*self.parts("part-"), *self.parts("failed-")]:
            rows = self.read_part(part, told)
            first = []
            for key in zip(*(rows.column(name).to_pylist() for name in keys), strict=True):
                first.append(key not in seen)
                seen.add(key)
            counts.update(_statuses(rows.filter(pa.array(first))))
            if not any(first):
                self.check_lease()
                self.store._fs.delete_file(f"{self._dir}/{part}")
                continue
            kept.append(part)
            if not all(first):
                self.replace(part, self.read_part(part).filter(pa.array(first)))
        return kept, counts

    def _write_part(self, prefix: str, table: pa.Table) -> None:
        if table.num_rows:
            assert self.schema is not None
            named_by = dict.fromkeys([*table.column_names[:2], *key_columns(self.schema)])
            first = "".join(str(table.column(column).to_pylist()) for column in named_by)
            name = hashlib.sha256(first.encode()).hexdigest()[:20]
            self._put(f"{self._dir}/{prefix}-{name}.parquet", table)

    def _put(self, path: str, table: pa.Table) -> None:
        self.store._fs.create_dir(self._dir, recursive=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        pictures = {field.name for field in table.schema if pa.types.is_binary(field.type)}  # are compressed
        pq.write_table(
            table,
            temporary,
            filesystem=self.store._fs,
            compression={name: "none" if name in pictures else "zstd" for name in table.column_names},
            use_dictionary=[name for name in table.column_names if name not in pictures],
            write_statistics=[name for name in table.column_names if name not in pictures],
        )
        self.store._fs.move(temporary, path)

    def commit(
        self,
        config: dict[str, Any],
        inputs: dict[str, str],
        files: Iterable[str] | None = None,
        extra: dict[str, Any] | None = None,
        expected: int | None = None,
    ) -> Manifest:
        """Makes this version the finished one by writing manifest.json last.

        `files`: for an artefact, the paths of its files below `folder`; for a dataset, left out.
        `expected`: for a dataset, the rows that it has to have by what went in; ContractError otherwise.
        """
        counts: Counter = Counter()
        if self.schema is not None:
            names, counts = self.drop_repeated()  # and not what such a worker writes from here on
            self._check_rows(counts.total(), expected)
        else:
            names = sorted(files or [])
        manifest = Manifest(
            name=self.name,
            key=self.key,
            schema=dataset_name(self.schema) if self.schema is not None else None,
            schema_version=schema_version(self.schema) if self.schema is not None else None,
            files=[f"data-{self.key}/{n}" for n in names],
            rows=counts.total(),
            counts=dict(counts),
            inputs=inputs,
            config=config,
            extra=extra or {},
            code_version=code_version(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.time() - self.started, 2),
        )
        path = f"{self.store._base}/{self.name}/manifest.json"
        self.store._fs.create_dir(f"{self.store._base}/{self.name}", recursive=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        with self.store._fs.open_output_stream(temporary) as out:
            out.write(json.dumps(asdict(manifest), indent=1, default=str).encode())
        self.check_lease()
        self.store._fs.move(temporary, path)
        if self.lease is not None:
            self.lease.release()
        return manifest

    def _check_rows(self, seen: int, expected: int | None) -> None:
        assert self.schema is not None
        name = dataset_name(self.schema)
        if not seen:
            raise ContractError(f"{name}: refusing to commit a dataset of no rows")
        if expected is None or seen == expected:
            return
        told = f"{name}: {expected:,} rows are expected by what went in, {seen:,} are there: not committed"
        if seen < expected:
            raise ContractError(f"{told}. Rows were lost: run again, which makes only those that are missing")
        raise ContractError(f"{told}. Remove {self.folder} and run again, which makes all of them")


def _statuses(table: pa.Table) -> Counter:
    """Rows by status; without such a column all are good."""
    if "status" in table.column_names:
        return Counter(table.column("status").to_pylist())
    return Counter({OK: table.num_rows} if table.num_rows else {})


def _open_stage(root: str, name: str, schema: pa.Schema | None, key: str) -> Stage:
    return Stage(Store(root), name, schema, key)
