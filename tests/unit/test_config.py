"""facap.config.parse: one model filled from defaults, YAML, the environment and flags, in this order."""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from facap.config import StageConfig, known_keys, parse
from facap.errors import ConfigError
from jobs.job_settings import load_settings


class Optimiser(StageConfig):
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, per step")
    warmup_steps: int = Field(1, description="steps until the full rate")


class Crawl(StageConfig):
    timeout_s: float = Field(10, gt=0, description="longest wait for one image, s")
    respect_robots: bool = Field(True, description="obey robots.txt")
    hosts: list[str] = Field([], description="hosts that may be asked; all if empty")
    order: Literal["given", "random"] = Field("given", description="of the requests")
    num_workers: int = Field(2, ge=1, description="processes")


class Train(StageConfig):
    optimiser: Optimiser = Field(Optimiser(learning_rate=3e-4, warmup_steps=7), description="AdamW")


class Settings(BaseModel):
    workspace: str = "workspace"
    crawl: Crawl = Crawl(num_workers=5)
    train: Train = Train()


def settings(*argv: str) -> Settings:
    return parse(Settings, list(argv), "crawl_images", "Crawls the images of a catalogue.")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [v for v in os.environ if v.startswith("FACAP_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    path = tmp_path / "facap.yaml"
    path.write_text(
        "crawl:\n  timeout_s: 3\n  hosts: [a.example]\ntrain:\n  optimiser: {learning_rate: 0.5}\n"
    )
    return path


def test_nothing_given_means_the_defaults_of_the_settings_model_not_of_the_section():
    assert settings() == Settings()
    assert settings().crawl.num_workers == 5


def test_flags_beat_environment_beats_yaml_beats_defaults(yaml_file: Path, monkeypatch: pytest.MonkeyPatch):
    config = f"--config={yaml_file}"
    assert settings(config).crawl.timeout_s == 3
    monkeypatch.setenv("FACAP_CRAWL__TIMEOUT_S", "11")
    assert settings(config).crawl.timeout_s == 11
    assert settings("--config", str(yaml_file), "--crawl.timeout_s", "20").crawl.timeout_s == 20
    assert settings(config, "--crawl.timeout_s=20").crawl.timeout_s == 20


def test_each_source_changes_only_the_keys_it_names(yaml_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACAP_WORKSPACE", "/data/w")
    monkeypatch.setenv("FACAP_TRAIN__OPTIMISER__WARMUP_STEPS", "9")
    got = settings("--config", str(yaml_file), "--crawl.order", "random")
    assert got.workspace == "/data/w"
    assert got.train.optimiser == Optimiser(learning_rate=0.5, warmup_steps=9)
    assert got.crawl == Crawl(timeout_s=3, hosts=["a.example"], order="random", num_workers=5)
    assert settings("--train.optimiser.learning_rate", "9").train.optimiser.warmup_steps == 9


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["--crawl.respect_robots"], True),
        (["--no-crawl.respect_robots"], False),
        (["--crawl.respect_robots", "false"], False),
        (["--crawl.respect_robots=0"], False),
        (["--crawl.respect_robots", "TRUE"], True),
        (["--crawl.respect_robots", "--crawl.timeout_s", "4"], True),
    ],
)
def test_booleans_stand_alone_or_take_a_value(argv: list[str], wanted: bool):
    assert settings(*argv).crawl.respect_robots is wanted


def test_lists_are_comma_separated_or_json():
    assert settings("--crawl.hosts", "a,b").crawl.hosts == ["a", "b"]
    assert settings("--crawl.hosts", '["a", "b"]').crawl.hosts == ["a", "b"]


def test_a_section_of_comments_only_is_an_empty_file(tmp_path: Path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert settings("--config", str(tmp_path / "empty.yaml")) == Settings()


@pytest.mark.parametrize("source", ["yaml", "flag", "environment"])
def test_unknown_keys_name_the_nearest_known_one(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    argv = []
    if source == "yaml":
        (tmp_path / "typo.yaml").write_text("crawl:\n  timeut_s: 3\n")
        argv = ["--config", str(tmp_path / "typo.yaml")]
    elif source == "flag":
        argv = ["--crawl.timeut_s", "3"]
    else:
        monkeypatch.setenv("FACAP_CRAWL__TIMEUT_S", "3")
    with pytest.raises(
        ConfigError, match=r"unknown setting 'crawl.timeut_s'; did you mean 'crawl.timeout_s'"
    ):
        settings(*argv)


@pytest.mark.parametrize("source", ["yaml", "flag", "environment"])
def test_unknown_sections_are_errors_too(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    argv = []
    if source == "yaml":
        (tmp_path / "typo.yaml").write_text("crwl:\n  timeout_s: 3\n")
        argv = ["--config", str(tmp_path / "typo.yaml")]
    elif source == "flag":
        argv = ["--crwl.timeout_s", "3"]
    else:
        monkeypatch.setenv("FACAP_CRWL__TIMEOUT_S", "3")
    with pytest.raises(ConfigError, match=r"unknown setting 'crwl.*did you mean 'crawl"):
        settings(*argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--crawl.timeout_s", "-2"], r"'crawl.timeout_s': input should be greater than 0, got '-2'"),
        (
            ["--crawl.timeout_s", "soon"],
            r"'crawl.timeout_s': should be a number, got 'soon'; e.g. crawl: {timeout_s: 10}",
        ),
        (["--crawl.order", "best"], r"'crawl.order': input should be 'given' or 'random', got 'best'"),
        (["--crawl.respect_robots", "maybe"], r"'crawl.respect_robots' should be true or false, got 'maybe'"),
        (["--crawl.timeout_s"], r"'crawl.timeout_s': expected one argument"),
        (["stray"], r"unknown setting 'stray'"),
        (["--crawl.time", "3"], r"unknown setting 'crawl.time'"),
        (["--config"], r"--config should be followed by the path"),
        (["--config", "/nowhere/facap.yaml"], r"'/nowhere/facap.yaml' cannot be read"),
    ],
)
def test_wrong_values_say_what_was_expected_and_seen(argv: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        settings(*argv)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "should be a mapping of sections, is list"),
        ("crawl: [\n", "cannot be read"),
        ("crawl: 5\n", "'crawl'.*got 5"),
    ],
)
def test_yaml_that_is_no_mapping_is_refused(text: str, message: str, tmp_path: Path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        settings("--config", str(tmp_path / "bad.yaml"))


def test_help_lists_every_setting_with_its_description(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        settings("--help")
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for key in known_keys(Settings):
        assert f"--{key}" in text
    for words in (
        "usage: crawl_images",
        "Crawls the images",
        "--config FILE",
        "longest wait for one image, s",
    ):
        assert words in text
    assert "default: 0.0003" in text


def test_what_was_given_can_be_told_from_defaults(yaml_file: Path, monkeypatch: pytest.MonkeyPatch):
    assert settings().model_fields_set == set()
    assert settings().crawl.model_fields_set == set()
    monkeypatch.setenv("FACAP_CRAWL__NUM_WORKERS", "5")
    got = settings("--config", str(yaml_file), "--no-crawl.respect_robots", "--workspace", "workspace")
    assert got.model_fields_set == {"workspace", "crawl", "train"}
    assert got.crawl.model_fields_set == {"timeout_s", "hosts", "num_workers", "respect_robots"}
    assert got.train.optimiser.model_fields_set == {"learning_rate"}
    assert isinstance(got.train.optimiser, Optimiser)
    assert settings("--crawl", '{"order": "random"}').crawl.model_fields_set == {"order", "num_workers"}


def test_stage_configs_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Crawl().timeout_s = 3


FORMS = [
    ("crawl: {hosts: a.example}", "a list of texts, got 'a.example'; e.g. crawl: {hosts: [a.example]}"),
    ("crawl: {hosts: [a.example, 5]}", "a list of texts, got 5 at '1'; e.g. crawl: {hosts: [text, text]}"),
    ("crawl: {num_workers: [2]}", "a whole number, got [2]; e.g. crawl: {num_workers: 2}"),
    ("crawl: {respect_robots: maybe}", "true or false, got 'maybe'; e.g. crawl: {respect_robots: true}"),
    ("crawl: [timeout_s]", "a section of settings, got ['timeout_s']; e.g. crawl: {timeout_s: 10, "),
    (
        "train: {optimiser: adam}",
        "a section of settings, got 'adam'; e.g. train: {optimiser: {learning_rate: 0.0003, ",
    ),
    ("workspace: 2026", "text, got 2026; e.g. workspace: '2026'"),
    ("workspace: 2026-11-23", "text, got datetime.date(2026, 11, 23); e.g. workspace: '2026-11-23'"),
]


@pytest.mark.parametrize(("text", "message"), FORMS)
def test_a_value_of_the_wrong_form_says_which_form_is_right(text: str, message: str, tmp_path: Path):
    file = tmp_path / "wrong.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError) as error:
        settings("--config", str(file))
    assert f"should be {message}" in str(error.value)


@pytest.mark.parametrize(("text", "message"), FORMS)
def test_the_example_of_such_an_error_is_taken(text: str, message: str, tmp_path: Path):
    file = tmp_path / "facap.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError) as error:
        settings("--config", str(file))
    file.write_text(str(error.value).split("; e.g. ")[1] + "\n")
    assert isinstance(settings("--config", str(file)), Settings)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("HOSTS", "a, b", ["a", "b"]),
        ("HOSTS", '["a", "b"]', ["a", "b"]),
        ("HOSTS", "", []),
        ("RESPECT_ROBOTS", "no", False),
        ("TIMEOUT_S", "3", 3.0),
    ],
)
def test_a_variable_has_the_form_of_a_flag(
    key: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(f"FACAP_CRAWL__{key}", text)
    assert getattr(settings().crawl, key.lower()) == value


def test_a_variable_of_the_wrong_form_says_which_is_right(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACAP_CRAWL", "fast")
    with pytest.raises(ConfigError, match="'crawl': should be a section of settings, got 'fast'"):
        settings()
    monkeypatch.setenv("FACAP_CRAWL", '{"timeout_s": 4, "order": "random"}')
    monkeypatch.setenv("FACAP_CRAWL__ORDER", "given")
    assert (settings().crawl.timeout_s, settings().crawl.order) == (4, "given")


def test_a_section_of_which_all_is_commented_out_gives_nothing(tmp_path: Path):
    (tmp_path / "c.yaml").write_text("crawl:\n  # timeout_s: 3\ntrain:\n  optimiser:\n")
    assert settings("--config", str(tmp_path / "c.yaml")) == Settings()


class Follower(Crawl):
    retries: int = Field(0, description="tries after the first")


class Pair(BaseModel):
    crawl: Crawl = Crawl()
    again: Follower = Follower(num_workers=3)
    nested: Train = Train()
    mirror: Train = Train()


ORDER = ("yaml", "environment", "flags")  # a later one wins
LEADERS = {"again": "crawl", "mirror": "nested"}
VALUES = {
    **{f"{section}.timeout_s": st.integers(1, 9) for section in ("crawl", "again")},
    **{f"{section}.num_workers": st.integers(1, 9) for section in ("crawl", "again")},
    **{
        f"{section}.optimiser.{name}": st.integers(1, 9)
        for section in ("nested", "mirror")
        for name in ("learning_rate", "warmup_steps")
    },
    "again.retries": st.integers(0, 9),
}
given_by = st.fixed_dictionaries({}, optional=VALUES)


def plain_twin(given: dict[str, int], key: str) -> float:
    """The value of a key: what was given for it, else for its leader, else the default."""
    section, _, name = key.partition(".")
    for place in (section, LEADERS.get(section, section)):
        if f"{place}.{name}" in given:
            return given[f"{place}.{name}"]
    return at(Pair(), key)


def at(settings: BaseModel, key: str) -> float:
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.fixed_dictionaries({source: given_by for source in ORDER}))
def test_a_section_that_follows_another_does_so_key_by_key_whoever_gives_them(sources: dict):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        content: dict[str, Any] = {}
        for key, value in sources["yaml"].items():
            *sections, name = key.split(".")
            inner = content
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[name] = value
        (Path(folder) / "c.yaml").write_text(yaml.safe_dump(content))
        for key, value in sources["environment"].items():
            patch.setenv("FACAP_" + key.upper().replace(".", "__"), str(value))
        flags = [word for key, value in sources["flags"].items() for word in (f"--{key}", str(value))]
        got = parse(Pair, ["--config", f"{folder}/c.yaml", *flags], "p", "", follows=LEADERS)
    merged = sources["yaml"] | sources["environment"] | sources["flags"]
    assert {key: at(got, key) for key in VALUES} == {key: plain_twin(merged, key) for key in VALUES}


def test_a_mapping_follows_by_its_names_and_what_fits_only_together_is_judged_together():
    words = ["--caption.chat", "true", "--verify.endpoint.url", "http://vlm:8000/v1"]
    words += [
        "--caption.engine.engine_kwargs",
        '{"a": 1, "b": 1}',
        "--verify.engine.engine_kwargs",
        '{"b": 2}',
    ]
    words += ["--caption.engine.device", "gpu", "--verify.engine.num_engines", "4"]
    verify = load_settings([*words, "--mlflow_uri", "http://ml", "--train.mlflow_uri", "http://own"], "", "")
    assert verify.verify.endpoint.url and not verify.caption.endpoint.url and verify.verify.chat
    engine = verify.verify.engine
    assert (engine.device, engine.num_engines, engine.engine_kwargs) == ("gpu", 4, {"a": 1, "b": 2})
    assert (verify.train.mlflow_uri, verify.verify.mlflow_uri) == ("http://own", "http://ml")
    with pytest.raises(
        ConfigError, match=r"'verify': max_tokens 200 should be below engine\.max_model_len 100"
    ):
        load_settings(["--caption.max_tokens", "200", "--verify.engine.max_model_len", "100"], "", "")
