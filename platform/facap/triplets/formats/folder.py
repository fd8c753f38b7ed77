"""A folder that is there whole or not at all: written beside its place, then moved into it.

    with new_folder(Path("export"), replace=False, is_ours=has_card) as folder:     # doctest: +SKIP
        (folder / "README.md").write_text("...")

After a fault nothing is left behind. An earlier folder is exchanged for the new one in one step where the
system can (Linux), so no reader ever finds neither; only a folder that `is_ours` is ever replaced.
"""

import contextlib
import ctypes
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from facap.errors import ConfigError, FormatError

_HERE = -100  # AT_FDCWD: paths are relative to the current folder
_EXCHANGE = 2  # RENAME_EXCHANGE


@contextlib.contextmanager
def new_folder(path: Path, replace: bool, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields an empty folder that becomes `path` when the block ends well.

    Raises ConfigError if `path` is there and may not be replaced, FormatError if it cannot be written.
    """
    _check_free(path, replace, is_ours)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _check_free(path, replace, is_ours)  # it may have come meanwhile
        _move(temporary, path)
    except OSError as error:
        raise FormatError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # after an exchange: what was there before


def _check_free(path: Path, replace: bool, is_ours: Callable[[Path], bool]) -> None:
    if not os.path.lexists(path):
        return
    if not replace:
        raise ConfigError(f"{path} is there already; choose another exports.folder, or set exports.replace")
    if path.is_symlink() or not path.is_dir() or not (is_ours(path) or not any(path.iterdir())):
        raise ConfigError(f"{path} is not an earlier export, so it is not replaced; choose another folder")


def _move(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
    elif not _exchanged(temporary, path):
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
        path.rename(aside)
        temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
