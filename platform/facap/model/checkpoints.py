"""Names of checkpoints -> folders: our tiny models ship with the package, others are paths or hub names.

>>> resolve("facap/tiny-captioner").endswith("weights/tiny-captioner")
True

A hub name may pin a branch, tag or commit: "Qwen/Qwen2.5-7B-Instruct@main". Whatever it says, a run uses the
one commit that its driver found (`pinned`), and rows, keys and manifests record that (`label`).
"""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

from facap.errors import ModelMissing

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
PREFIX = "facap/"
# What of a folder decides on answers: weights, configs, tokenizers and chat templates.
_HASHED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_OLD_WEIGHTS = "*.bin"  # counts where there are no others
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^@\s]+))?")
_CHUNK = 2**22  # bytes read at once


def is_shipped(name: str) -> bool:
    """Whether it is one of our tiny models, which know rendered garments only."""
    return name.startswith(PREFIX) or Path(name).expanduser().resolve().is_relative_to(SHIPPED)


def is_of_hub(name: str) -> bool:
    """Whether `name` is looked up in the hub: it is no path, no folder that is here, and not shipped."""
    path = Path(name).expanduser()
    is_path = path.is_absolute() or name.startswith(".") or (path / "config.json").exists()
    return not name.startswith(PREFIX) and not is_path


def resolve(name: str) -> str:
    """The local folder of a model: of `facap/<name>`, of a path, or of a hub's snapshot, fetched if need be.

    Raises ModelMissing if it is not there, or cannot be had.
    """
    if is_of_hub(name):
        return _snapshot(name)
    if name.startswith(PREFIX):
        folder = SHIPPED / name.removeprefix(PREFIX)
        if not (folder / "config.json").exists():
            raise ModelMissing(
                f"model '{name}' should be in {folder}, which is missing; "
                "install facap again, or train it with `python -m jobs.train_tiny_models --out <folder>`"
            )
        return str(folder)
    path = Path(name).expanduser()
    if not (path / "config.json").exists():
        raise ModelMissing(
            f"model folder '{name}' has no config.json; "
            "give a checkpoint's folder, a hub name or facap/<name>"
        )
    return str(path.resolve())


@cache
def _snapshot(name: str) -> str:
    """The folder .../models--org--name/snapshots/<commit> of a hub model in the local cache."""
    from huggingface_hub import snapshot_download

    parts = _HUB_NAME.fullmatch(name)
    if parts is None:
        raise ModelMissing(f"model '{name}' should be facap/<name>, a folder or a hub name, org/name")

    def fetch(*patterns: str) -> Path:
        folder = snapshot_download(
            parts["repo"], revision=parts["revision"], allow_patterns=list(patterns), ignore_patterns="*/*"
        )
        return Path(folder)

    try:
        folder = fetch(*_HASHED)
        if not any(folder.glob("*.safetensors")):
            folder = fetch(*_HASHED, _OLD_WEIGHTS)
    except (OSError, ValueError) as error:
        raise ModelMissing(_not_had(name, (str(error).strip().splitlines() or [repr(error)])[0])) from error
    if lacking := _lacking(folder):
        raise ModelMissing(_not_had(name, f"{lacking} is not in {folder}"))
    return str(folder)


def _not_had(name: str, why: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"model '{name}' cannot be had: HF_HUB_OFFLINE is set, so only {constants.HF_HUB_CACHE} was "
            f"looked into ({why}); run once with HF_HUB_OFFLINE=0 to fetch it, or give a checkpoint's folder"
        )
    return (
        f"model '{name}' cannot be had from the hub, which was asked as HF_HUB_OFFLINE is not set ({why}); "
        "check its name and revision, HF_TOKEN if it is not open to all, and the network"
    )


def _lacking(folder: Path) -> str | None:
    """A file that a complete checkpoint has and this folder has not."""
    if not (folder / "config.json").exists():
        return "config.json"
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")):
        for file in sorted(set(json.loads(index.read_text())["weight_map"].values())):
            if not (folder / file).exists() and not file.endswith(".bin"):
                return str(file)
    has_weights = any(folder.glob("*.safetensors")) or any(folder.glob(_OLD_WEIGHTS))
    return None if has_weights else "*.safetensors"


def repository(name: str) -> str:
    """A hub name without its revision; any other name as it is."""
    parts = _HUB_NAME.fullmatch(name) if is_of_hub(name) else None
    return parts["repo"] if parts is not None else name


def pinned(name: str) -> str:
    """A hub name with the commit that it stands for now, for all processes of a run; other names as they are.

    Raises ModelMissing as `resolve` does.
    """
    return f"{repository(name)}@{Path(resolve(name)).name}" if is_of_hub(name) else name


def to_load(name: str) -> tuple[str, str]:
    """What a library on any node is told, and the commit: a hub's model by name, so that the node fetches it.

    Offline, and of all that is no hub's, it is the folder; the commit is empty then.
    """
    from huggingface_hub import constants

    folder = resolve(name)
    if constants.HF_HUB_OFFLINE or not is_of_hub(name):
        return folder, ""
    return repository(name), Path(folder).name


def chat_template(name: str) -> str | None:
    """The chat template (jinja) that comes with a model, None if none does."""
    folder = Path(resolve(name))
    if (alone := folder / "chat_template.jinja").exists():
        return alone.read_text()
    for file in ("chat_template.json", "tokenizer_config.json"):
        if (folder / file).exists():
            template = json.loads((folder / file).read_text()).get("chat_template")
            if isinstance(template, str):
                return template
    return None


@cache
def weights_hash(folder: str) -> str:
    """Hash (12 hex) of a model folder's files that decide on answers."""
    path = Path(folder)
    patterns = _HASHED if any(path.glob("*.safetensors")) else (*_HASHED, _OLD_WEIGHTS)
    digest = hashlib.sha256()
    for file in sorted(file for pattern in patterns for file in path.glob(pattern)):
        digest.update(file.name.encode())
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:12]


def content(name: str) -> str:
    """What a name stands for: the hash of its files, of a hub model with the commit before it."""
    folder = resolve(name)
    files = weights_hash(folder)
    return f"{Path(folder).name}.{files}" if is_of_hub(name) else files


def label(name: str) -> str:
    """The name and content by which rows record the model that wrote them: "facap/tiny-captioner@3f..."."""
    return f"{repository(name)}@{content(name)}"
