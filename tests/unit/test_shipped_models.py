"""Jobs that would put the shipped models to pictures that were not rendered stop before they begin."""

from pathlib import Path

import pyarrow as pa
import pytest

from facap.errors import ConfigError
from facap.progress import Progress, StageReport
from facap.schemas import IMAGES, ITEMS, from_rows
from facap.store import Store
from jobs import quickstart
from jobs.job_runner import run_jobs
from jobs.job_settings import Settings, load_settings
from jobs.shipped_models import EXAMPLES, USED_BY, check
from tests.annotation import image_row

OWN = ["--catalog.manifest", "/data/shop.csv"]
MODELS = [word for key, model in EXAMPLES.items() for word in (f"--{key}", model)]
ALLOWED = ["--allow_shipped_models", "true"]
ITEM = {name: "x" for name in ("item_id", "product_id", "category", "url", "source")}


def commit(store: Store, name: str, schema: pa.Schema, row: dict, config: dict) -> None:
    stage = store.stage(name, schema, "key")
    stage.write(from_rows([row], schema))
    stage.commit(config, {})


def stopped(stages: list[str], folder: Path, *words: str) -> str:
    """What is said; empty if the job may begin."""
    try:
        check(stages, Store(str(folder)), load_settings(list(words), "", ""))
    except ConfigError as error:
        return str(error)
    return ""


def test_a_quickstart_on_a_catalogue_of_ones_own_names_every_model_that_is_wanting(tmp_path: Path) -> None:
    stages = list(quickstart.STAGES)
    text = stopped(stages, tmp_path, *OWN)
    assert "rendered garments only" in text and "'/data/shop.csv'" in text
    for key in ("caption.model", "pairs.base", "modify.model", "train.model.base"):
        assert f"{key} (now facap/tiny-" in text
    assert "verify.model" not in text  # quickstart does not verify
    assert "--caption.model Qwen/Qwen2.5-VL-7B-Instruct" in text
    assert "allow_shipped_models: true" in text
    assert not stopped(stages, tmp_path, *OWN, *MODELS)
    assert not stopped(stages, tmp_path, *OWN, *ALLOWED)
    assert not stopped(stages, tmp_path)  # the demo catalogue
    one_left = stopped(stages, tmp_path, *OWN, *MODELS, "--modify.model", "facap/tiny-writer")
    assert "modify.model (now facap/tiny-writer)" in one_left and "caption.model (" not in one_left


@pytest.mark.parametrize("stage", sorted(USED_BY))
def test_every_job_that_uses_such_a_model_stops(stage: str, tmp_path: Path) -> None:
    assert USED_BY[stage] in stopped([stage], tmp_path, *OWN)
    assert not stopped([stage], tmp_path, *OWN, f"--{USED_BY[stage]}", EXAMPLES[USED_BY[stage]])
    assert not stopped([stage], tmp_path)


def test_a_workspace_tells_what_its_pictures_are_of(tmp_path: Path) -> None:
    for name, made, config, source in (
        ("own", ITEMS, {"manifest": "feed.xml"}, "'feed.xml'"),
        ("demo", ITEMS, {"manifest": ""}, ""),
        ("imported", IMAGES, {"layout": "fashion_iq", "images": "/data/fiq"}, "'/data/fiq'"),
    ):
        store = Store(str(tmp_path / name))
        dataset = "items" if made is ITEMS else "images"
        commit(store, dataset, made, ITEM if made is ITEMS else image_row(1), config)
        text = stopped(["caption"], tmp_path / name)
        assert bool(text) == bool(source) and source in text
    # and quickstart makes its catalogue anew
    assert not stopped(["catalog", "caption"], tmp_path / "own")


@pytest.mark.parametrize("stages", [["catalog", "crawl"], ["index"], ["serve"], ["promote"], ["import"]])
def test_jobs_that_use_no_such_model_are_not_stopped(stages: list[str], tmp_path: Path) -> None:
    assert not stopped(stages, tmp_path, *OWN)


def test_a_server_answers_with_models_of_its_own(tmp_path: Path) -> None:
    asked = ["--caption.chat", "true", "--caption.endpoint.url", "http://vlm:8000/v1"]
    assert not stopped(["caption"], tmp_path, *OWN, *asked)
    assert not stopped(["verify"], tmp_path, *OWN, *asked)  # which follows caption


def test_the_path_of_a_shipped_model_is_one_too(tmp_path: Path) -> None:
    from facap.model.checkpoints import resolve

    assert stopped(["caption"], tmp_path, *OWN, "--caption.model", resolve("facap/tiny-captioner"))


def test_the_job_ends_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = []

    def job(store: Store, settings: Settings, progress: Progress) -> StageReport:
        begun.append(settings.allow_shipped_models)
        return StageReport("caption", 1, 1)

    words = ["--workspace", str(tmp_path / "w"), *OWN]
    assert run_jobs("A job.", {"caption": job}, argv=words, engines=False) == 1
    assert not begun and not list((tmp_path / "w").iterdir())
    error = capsys.readouterr().err
    assert (
        error.startswith("error: the shipped models know rendered garments only") and error.count("\n") == 1
    )
    assert run_jobs("A job.", {"caption": job}, argv=[*words, *ALLOWED], engines=False) == 0
    assert begun == [True]


def test_every_shipped_default_is_of_a_stage_that_is_checked() -> None:
    """A setting whose default is a shipped model belongs to USED_BY, or to what draws its own garments."""
    found = set()

    def walk(section: object, prefix: str) -> None:
        for name, value in section:  # type: ignore[attr-defined]
            if isinstance(value, str) and value.startswith("facap/"):
                found.add(prefix + name)
            elif hasattr(value, "model_fields_set"):
                walk(value, f"{prefix}{name}.")

    walk(Settings(), "")
    assert found == set(USED_BY.values())
