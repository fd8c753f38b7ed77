"""The shipped models know rendered garments only: pictures of another catalogue stop a job before it begins.

>>> check(["crawl", "caption"], store, settings)            # doctest: +SKIP
facap.errors.ConfigError: the shipped models know rendered garments only, but the pictures are of ...
"""

from collections.abc import Sequence
from operator import attrgetter

from facap.errors import ConfigError
from facap.model.checkpoints import is_shipped
from facap.store import Store
from jobs.job_settings import Settings

USED_BY = {
    "caption": "caption.model",
    "pairs": "pairs.base",
    "modify": "modify.model",
    "verify": "verify.model",
    "train": "train.model.base",
}
"""Stage -> the setting that names the model which it uses."""

EXAMPLES = {
    "caption.model": "Qwen/Qwen2.5-VL-7B-Instruct",
    "verify.model": "Qwen/Qwen2.5-VL-7B-Instruct",
    "modify.model": "Qwen/Qwen2.5-7B-Instruct",
    "pairs.base": "Salesforce/blip2-itm-vit-g",
    "train.model.base": "Salesforce/blip2-itm-vit-g",
}


def check(stages: Sequence[str], store: Store, settings: Settings) -> None:
    """Raises ConfigError if one of `stages` would put a shipped model to pictures that were not rendered."""
    if settings.allow_shipped_models:
        return
    found = [USED_BY[stage] for stage in stages if stage in USED_BY and _uses_shipped(stage, settings)]
    source = _source(stages, store, settings) if found else ""
    if source:
        now = ", ".join(f"{key} (now {attrgetter(key)(settings)})" for key in found)
        raise ConfigError(
            f"the shipped models know rendered garments only, but the pictures are of '{source}'. Name "
            f"models that know them in {now}, for example --{found[0]} {EXAMPLES[found[0]]}; "
            "'Your own catalogue' in README.md has a file of settings to begin with. To go on with the "
            "shipped models all the same, as to try out the stages, set allow_shipped_models: true"
        )


def _uses_shipped(stage: str, settings: Settings) -> bool:
    section = getattr(settings, stage)
    if hasattr(section, "endpoint") and section.endpoint.url:  # then it is the server's name for a model
        return False
    return is_shipped(attrgetter(USED_BY[stage])(settings))


def _source(stages: Sequence[str], store: Store, settings: Settings) -> str:
    """What the pictures are of, if they are not the demo catalogue's; else empty."""
    if "catalog" in stages:
        return settings.catalog.manifest
    images, items = store.manifest("images"), store.manifest("items")
    imported = images.config.get("images", "") if images is not None else ""
    read = items.config.get("manifest", "") if items is not None else ""
    return str(imported or read or settings.catalog.manifest)
