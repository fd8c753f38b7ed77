"""Names of checkpoints: shipped, folders, and those of a hub, each by what it stands for."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from facap.annotate.config import EngineConfig
from facap.errors import ModelMissing
from facap.model import checkpoints
from tests.hub import FIRST, SECOND, Hub

NAME = "someone/captioner"
SAY = "import json; from facap.model import checkpoints as c; from facap.errors import ModelMissing\n"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """Two revisions of one model; main is the first."""
    made = Hub(tmp_path_factory.mktemp("hub"))
    made.add(NAME, FIRST, "facap/tiny-captioner")
    made.add(NAME, SECOND, "facap/tiny-captioner", note="other")
    made.point(NAME, FIRST)
    return made


def said(hub: Hub, expression: str, **environment: str) -> object:
    return json.loads(hub.python(f"{SAY}print(json.dumps({expression}))", **environment))


def refused(hub: Hub, name: str, **environment: str) -> str:
    code = f"{SAY}try:\n    c.resolve({name!r})\nexcept ModelMissing as error:\n    print(error)"
    return hub.python(code, **environment)


def test_a_hub_name_is_a_folder_a_commit_and_a_hash(hub: Hub) -> None:
    folder, pinned, label, main = said(
        hub, f"[c.resolve('{NAME}'), c.pinned('{NAME}'), c.label('{NAME}'), c.label('{NAME}@main')]"
    )
    assert Path(folder) == hub.home / "hub" / "models--someone--captioner" / "snapshots" / FIRST
    assert pinned == f"{NAME}@{FIRST}"
    assert label == main == f"{NAME}@{FIRST}.{checkpoints.weights_hash(folder)}"


def test_another_revision_is_another_label_and_a_pinned_one_stays(hub: Hub) -> None:
    labels = f"[c.label('{NAME}'), c.label('{NAME}@{SECOND}'), c.label('{NAME}@{FIRST}')]"
    main, second, first = said(hub, labels)
    assert main == first and second.startswith(f"{NAME}@{SECOND}.")
    assert main.split(".")[1] != second.split(".")[1]
    hub.point(NAME, SECOND)
    try:
        moved = said(hub, labels)
    finally:
        hub.point(NAME, FIRST)
    assert moved == [second, second, first]


def test_the_keys_of_stages_tell_revisions_apart(hub: Hub) -> None:
    code = (
        "from facap.annotate import caption_pipeline as p, origin\n"
        "from facap.annotate.config import CaptionConfig\n"
        "names = ['{0}', '{0}@main', '{0}@{1}', '{0}@{2}']\n"
        "configs = [CaptionConfig(model=name) for name in names]\n"
        "keys = [p.key(one, 'x') for one in configs]\n"
        "assert keys == [p.key(origin.pinned(one), 'x') for one in configs]\n"
        "print(json.dumps(keys))"
    )
    main, by_branch, first, second = json.loads(hub.python(SAY + code.format(NAME, FIRST, SECOND)))
    assert main == by_branch == first != second


def test_a_name_that_cannot_be_had_is_one_sentence_that_says_whether_the_hub_was_asked(hub: Hub) -> None:
    for name in ("someone/nothing", f"{NAME}@v2"):
        text = refused(hub, name)
        assert f"model '{name}' cannot be had: HF_HUB_OFFLINE is set" in text and "\n" not in text
        assert str(hub.home / "hub") in text
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    text = refused(hub, "someone/nothing", **nowhere)
    assert "HF_HUB_OFFLINE is not set" in text and "\n" not in text
    assert "should be facap/<name>, a folder or a hub name" in refused(hub, "some one/else")


def test_a_snapshot_that_is_not_whole_is_told_by_the_file_that_it_lacks(hub: Hub) -> None:
    folder = hub.add("someone/half", FIRST, "facap/tiny-captioner")
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors is not in" in refused(hub, "someone/half")
    (folder / "model-00001-of-00002.safetensors").unlink()
    (folder / "model.safetensors.index.json").unlink()
    assert "*.safetensors is not in" in refused(hub, "someone/half")
    (folder / "config.json").unlink()
    assert "config.json is not in" in refused(hub, "someone/half")


@pytest.mark.slow
def test_a_base_of_a_hub_is_saved_with_its_commit_and_opened_by_it(hub: Hub, tmp_path: Path) -> None:
    hub.add("someone/base", FIRST, "facap/tiny-retrieval")
    code = (
        "from facap.model import saved\n"
        f"model, tokens = saved.from_pretrained(c.pinned('someone/base'))\n"
        f"saved.save_pretrained(model, tokens, '{tmp_path}/m')\n"
    )
    hub.python(SAY + code)
    content = json.loads((tmp_path / "m" / "config.json").read_text())
    assert content["base"] == content["model"]["base"] == f"someone/base@{FIRST}"
    assert content["base_hash"].startswith(f"{FIRST}.")
    hub.add("someone/base", SECOND, "facap/tiny-retrieval", note="moved")  # main goes on, the model does not
    hub.python(SAY + f"from facap.model import saved\nsaved.load_pretrained('{tmp_path}/m')")


def test_folders_and_shipped_models_are_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = checkpoints.resolve("facap/tiny-captioner")
    assert checkpoints.pinned("facap/tiny-captioner") == "facap/tiny-captioner"
    assert checkpoints.label("facap/tiny-captioner") == (
        f"facap/tiny-captioner@{checkpoints.weights_hash(shipped)}"
    )
    assert checkpoints.is_shipped("facap/tiny-captioner") and checkpoints.is_shipped(shipped)
    assert not checkpoints.is_shipped("Qwen/Qwen2.5-7B-Instruct") and not checkpoints.is_shipped("/models/x")
    (tmp_path / "org" / "mine").mkdir(parents=True)
    (tmp_path / "org" / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert checkpoints.resolve("org/mine") == str(tmp_path / "org" / "mine")  # what is here comes first
    with pytest.raises(ModelMissing, match=r"has no config\.json"):
        checkpoints.resolve("./nothing")


def test_the_hash_of_a_folder_is_of_its_content(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "pytorch_model.bin").write_text(text)
    a, b, c = (checkpoints.weights_hash(str(tmp_path / name)) for name in "abc")
    assert a == b != c


def test_a_revision_is_part_of_the_name_and_not_of_the_engines_arguments() -> None:
    with pytest.raises(ValidationError, match="revision belongs to the model's name"):
        EngineConfig(engine_kwargs={"revision": "v2"})
