"""Settings as people write them at first, and catalogues with models that do not know them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from facap.errors import ConfigError
from facap.failures import check_failures
from facap.store import Store
from jobs.job_settings import load_settings
from jobs.quickstart import STAGES
from jobs.shipped_models import check
from tests.hub import FIRST, SECOND, Hub
from tests.outside.case import Case

OWN = "catalog: {manifest: /data/shop.csv}\n"


def example(text: str) -> Callable[[Path], str]:
    """The example that the error on a file of settings ends with."""

    def seen(folder: Path) -> str:
        (folder / "shop.yaml").write_text(text)
        try:
            load_settings(["--config", str(folder / "shop.yaml")], "", "")
        except ConfigError as error:
            return str(error).partition("; e.g. ")[2]
        return "taken"

    return seen


def value(text: str, *words: str, of: Callable[[Any], Any]) -> Callable[[Path], Any]:
    """What a file of settings and flags amount to."""

    def seen(folder: Path) -> Any:
        (folder / "shop.yaml").write_text(text)
        return of(load_settings(["--config", str(folder / "shop.yaml"), *words], "", ""))

    return seen


def stops(text: str) -> Callable[[Path], bool]:
    """Whether a quickstart with these settings stops before it begins."""

    def seen(folder: Path) -> bool:
        (folder / "shop.yaml").write_text(text)
        settings = load_settings(["--config", str(folder / "shop.yaml")], "", "")
        try:
            check(list(STAGES), Store(str(folder)), settings)
        except ConfigError:
            return True
        return False

    return seen


def ended_after(failed_from: int, total: int, most: float) -> Callable[[Path], int]:
    """After how many rows a stage ends of which all rows from one on fail."""

    def seen(folder: Path) -> int:
        for done in range(total + 1):
            bad = max(0, done - failed_from)
            try:
                check_failures("caption", {"ok": done - bad, "wrong_category": bad}, most, total)
            except Exception:
                return done
        return -1

    return seen


def labels_differ(folder: Path) -> bool:
    """Whether a model that moved in its hub is another one than before."""
    hub = Hub(folder)
    say = "from facap.model.checkpoints import label; print(label('org/name'))"
    hub.add("org/name", FIRST, "facap/tiny-writer")
    first = hub.python(say)
    hub.add("org/name", SECOND, "facap/tiny-writer")
    return first != hub.python(say)


GPU = "caption: {engine: {device: gpu, engine_kwargs: {a: 1, b: 1}}}\n"
MODELS = (
    "caption: {model: org/vlm}\nmodify: {model: org/llm}\npairs: {base: org/base}\n"
    "train: {model: {base: org/base}}\n"
)

CASES = [
    Case(
        "settings",
        "one network without brackets",
        "crawl: {allow_networks: [10.0.0.0/8]}",
        example("crawl: {allow_networks: 10.0.0.0/8}"),
    ),
    Case(
        "settings",
        "a date that YAML does not read as text",
        "crawl: {revalidate: '2026-11-23'}",
        example("crawl: {revalidate: 2026-11-23}"),
    ),
    Case(
        "settings",
        "a section as one word",
        "train: {model: {base: facap/tiny-retrieval, adapter: bottleneck}}",
        example("train: {model: blip2}"),
    ),
    Case("settings", "a section of comments only", "taken", example("crawl:\n  # contact: me\n")),
    Case(
        "settings",
        "one setting of a section that follows another",
        ("gpu", 4),
        value(
            GPU,
            "--verify.engine.num_engines",
            "4",
            of=lambda s: (s.verify.engine.device, s.verify.engine.num_engines),
        ),
    ),
    Case(
        "settings",
        "one name of a mapping that follows another",
        {"a": 1, "b": 2},
        value(
            GPU + "verify: {engine: {engine_kwargs: {b: 2}}}\n", of=lambda s: s.verify.engine.engine_kwargs
        ),
    ),
    Case("first hour", "a catalogue of one's own, nothing else set", True, stops(OWN)),
    Case("first hour", "with models of one's own", False, stops(OWN + MODELS)),
    Case(
        "first hour", "all models but one", True, stops(OWN + MODELS.replace("org/llm", "facap/tiny-writer"))
    ),
    Case("first hour", "the shipped models asked for", False, stops(OWN + "allow_shipped_models: true\n")),
    Case("first hour", "the demo catalogue", False, stops("catalog: {num_products: 10}\n")),
    Case("failures", "880 pictures that no model knows", 45, ended_after(0, 880, 0.05)),
    Case("failures", "the last rows fail", 880, ended_after(835, 880, 0.05)),
    Case("failures", "just as many as are put up with", -1, ended_after(836, 880, 0.05)),
    Case("hub", "a branch that moved", True, labels_differ),
]
