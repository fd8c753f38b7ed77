"""Names of checkpoints -> folders: our tiny models ship with the package, others are paths or hub names.

>>> resolve("facap/tiny-captioner").endswith("weights/tiny-captioner")
True
"""

import hashlib
from functools import cache
from pathlib import Path

from facap.errors import ModelMissing

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
PREFIX = "facap/"
# What of a folder decides on answers: weights, configs, tokenizers and chat templates.
_HASHED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


def resolve(name: str) -> str:
    """The local folder of `facap/<name>`; an existing path as it is; else a hub name, unchanged.

    Raises ModelMissing if a shipped model or a path is not there.
    """
    if name.startswith(PREFIX):
        folder = SHIPPED / name.removeprefix(PREFIX)
        if not (folder / "config.json").exists():
            raise ModelMissing(
                f"model '{name}' should be in {folder}, which is missing; "
                "install facap again, or train it with `python -m jobs.train_tiny_models --out <folder>`"
            )
        return str(folder)
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith("."):
        if not (path / "config.json").exists():
            raise ModelMissing(
                f"model folder '{name}' has no config.json; "
                "give a checkpoint's folder, a hub name or facap/<name>"
            )
        return str(path.resolve())
    return name


@cache
def weights_hash(folder: str) -> str:
    """Hash (12 hex) of a model folder's files that decide on answers; the hub name's own hash if remote."""
    digest = hashlib.sha256()
    path = Path(folder)
    if not path.is_dir():
        return hashlib.sha256(folder.encode()).hexdigest()[:12]
    for file in sorted(file for pattern in _HASHED for file in path.glob(pattern)):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def label(name: str) -> str:
    """The name and hash by which rows record the model that wrote them: "facap/tiny-captioner@3f..."."""
    return f"{name}@{weights_hash(resolve(name))}"
