"""benchmarks/harness.py: the last line becomes a dated result; anything else changes nothing."""

import json
from pathlib import Path

import pytest

from benchmarks import harness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(
        "import json, sys\n"
        "print('warming up')\n"
        "print(json.dumps({'args': sys.argv[1:], 'images_per_s': 3.5}))\n"
    )
    (tmp_path / "crash.py").write_text('print("{}")\nraise SystemExit(3)\n')
    (tmp_path / "silent.py").write_text("")
    (tmp_path / "prose.py").write_text('print("done")\n')
    (tmp_path / "numbers.py").write_text('print("[1, 2]")\n')
    return tmp_path


def test_the_last_line_is_kept_with_what_is_needed_to_read_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
):
    result = json.loads(harness.run("good", ["--rows", "2"], folder).read_text())
    assert result["figures"] == {"args": ["--rows", "2"], "images_per_s": 3.5}
    assert "warming up" in capfd.readouterr().out
    assert result["name"] == "good"
    assert result["command"] == 'make bench NAME=good ARGS="--rows 2"'
    assert result["date"].endswith("+00:00")
    assert (result["commit"], result["dirty"]) == (None, True)  # tmp_path is no repository
    assert result["hardware"]["cores"] >= 1
    assert result["hardware"]["memory_gib"] > 0
    assert {"python", "ray", "torch", "transformers", "mlflow", "faiss-cpu"} <= set(result["versions"])


def test_benchmarks_may_import_one_another(folder: Path):
    (folder / "sibling.py").write_text("from benchmarks import harness\nprint('{\"imported\": 1}')\n")
    assert json.loads(harness.run("sibling", [], folder).read_text())["figures"] == {"imported": 1}


def test_the_commit_of_this_repository_is_found():
    found = harness._commit(harness.FOLDER)
    if not (harness.FOLDER.parent / ".git").exists():
        pytest.skip("not a checkout")
    assert len(found["commit"]) == 40
    assert isinstance(found["dirty"], bool)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crash", "ended with code 3"),
        ("silent", "should print one JSON object .* printed ''"),
        ("prose", "printed 'done'"),
        ("numbers", r"printed '\[1, 2\]'"),
        ("missing", r"no benchmark 'missing' in .*NAME=<crash\|good\|numbers\|prose\|silent>"),
        ("../good", "no benchmark"),
        ("", "no benchmark ''"),
    ],
)
def test_a_benchmark_without_figures_says_why_and_keeps_the_earlier_result(
    name: str, message: str, folder: Path
):
    earlier = folder / "results" / f"{name}.json"
    if name.isidentifier():
        earlier.parent.mkdir()
        earlier.write_text("{}")
    with pytest.raises(harness.BenchmarkError, match=message):
        harness.run(name, [], folder)
    if name.isidentifier():
        assert earlier.read_text() == "{}"


def test_the_command_ends_with_1_and_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert harness.main(["nothing_of_this_name"]) == 1
    assert capsys.readouterr().err.startswith("facap: no benchmark 'nothing_of_this_name'")
