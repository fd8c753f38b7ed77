"""The card's figures against counts by hand, and its folder: there whole, or not at all."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from facap.errors import ConfigError
from facap.triplets.formats import folder as folders
from facap.triplets.formats.card import MARK, Figures, card, is_export
from facap.triplets.formats.folder import new_folder
from tests.formats_data import catalogue, save, texts

ROWS = [("a", "b", ("Make it navy, don't shorten it",)), ("a", "c", ("a V-neck", "")), ("b", None, ("red",))]


@pytest.fixture
def figures() -> Figures:
    figures = Figures()
    figures.add("dress", "val", ROWS, num_listed=5)
    figures.add("top", "train", [("d", "e", ("make it red",))])
    return figures


def test_figures_are_those_counted_by_hand(figures: Figures):
    assert figures.lengths() == (0, 2, (6 + 2 + 0 + 1 + 3) / 5, 6)
    assert figures.frequent(3) == [("it", 3), ("make", 2), ("red", 2)]
    assert set(figures.words) == {"make", "it", "navy", "don't", "shorten", "a", "v-neck", "red"}
    assert figures.num_triplets == 4


def test_the_card_says_them(figures: Figures):
    text = card("My set", "CC-BY-4.0", "From our shop.", "Files.", figures, {"Texts by": ["m@1", "n@2"]})
    assert yaml.safe_load(text.split("---")[1])["license"] == "CC-BY-4.0"
    for line in (
        "# My set",
        MARK,
        "| dress | val | 3 | 4 | 2 | 2 | 5 |",
        "| top | train | 1 | 1 | 1 | 1 | - |",
        "| all | | 4 | 5 | | | |",
        "| median | 2 |",
        "| mean | 2.4 |",
        "| most | 6 |",
        "CC-BY-4.0",
        "From our shop.",
        "- **Texts by**: m@1, n@2",
    ):
        assert line in text.splitlines(), line
    assert "Vocabulary: 8 different words. The most frequent: it (3), make (2), red (2)" in text


def test_what_is_not_stated_is_said_and_nothing_is_divided_by_zero():
    text = card("x", "", "", "Files.", Figures(), {"Texts by": []})
    assert "Not stated: say it (exports.licence)" in text
    assert "| mean | 0.0 |" in text and "The most frequent: none." in text


@given(st.lists(texts, max_size=5))
def test_any_text_is_counted(captions: list[str]):
    figures = Figures()
    figures.add("dress", "val", [("a", "b", captions)])
    lengths = figures.lengths()
    assert lengths.least <= lengths.median <= lengths.most
    assert round(lengths.mean * len(captions)) == figures.words.total()


def test_an_exports_card_names_what_made_it(tmp_path: Path):
    store = catalogue(tmp_path / "shop")
    save(store, tmp_path / "out", "facap", name="Shop", licence="CC0-1.0", provenance="Ours.")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "- **Texts by**: facap/tiny-writer@1234" in text
    assert f"- **Fingerprint of TRIPLETS**: {store.fingerprint('triplets')}" in text
    assert "- **Made from**: pairs f00d" in text
    assert is_export(tmp_path / "out") and not is_export(tmp_path)


def fill(path: Path, text: str, replace: bool = False) -> None:
    with new_folder(path, replace, lambda found: (found / "ours").exists()) as folder:
        (folder / "ours").write_text(text)
        assert not path.exists() or (path / "ours").read_text() != text


def test_a_folder_is_exchanged_in_one_step(tmp_path: Path):
    fill(tmp_path / "a" / "out", "1")
    fill(tmp_path / "a" / "out", "2", replace=True)
    assert (tmp_path / "a" / "out" / "ours").read_text() == "2"
    assert os.listdir(tmp_path / "a") == ["out"]


def test_where_folders_cannot_be_exchanged_two_renames_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    fill(tmp_path / "out", "1")
    fill(tmp_path / "out", "2", replace=True)
    assert (tmp_path / "out" / "ours").read_text() == "2"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, kind: str):
    fill(tmp_path / "ours", "1")
    path = tmp_path / "out"
    {"file": path.touch, "link": lambda: path.symlink_to(tmp_path / "ours"), "folder": path.mkdir}[kind]()
    if kind == "folder":
        (path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not an earlier export, so it is not replaced"):
        fill(path, "2", replace=True)
    assert os.path.lexists(path)


def test_a_fault_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out", False, is_export) as folder:
        (folder / "half").write_text("written")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_folder_that_came_meanwhile_is_not_overwritten(tmp_path: Path):
    with pytest.raises(ConfigError, match="is there already"), new_folder(tmp_path / "out", False, is_export):
        (tmp_path / "out").mkdir()
    assert os.listdir(tmp_path) == ["out"]
