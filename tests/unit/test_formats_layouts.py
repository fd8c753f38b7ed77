"""The layouts' parsers and writers: whatever is written is read back, and faults are said in one sentence."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.errors import FormatError
from facap.schemas import SPLITS
from facap.splits import split_of
from facap.texts import joined
from facap.triplets.formats import facap_layout, fashion_iq
from facap.triplets.formats.documents import dump, mapping, records
from facap.triplets.formats.entries import Entry, Part, captions_of, to_row
from facap.triplets.formats.names import image_id_of, is_path, is_plain, name_of, product_id_of
from tests.formats_data import HASHES, parts_of, paths, plain_names, texts

BOUND = 1 << 20
CAPTIONS = {"candidate": "a", "target": "b", "captions": ["x"]}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def read(layout, folder: Path) -> list[Part]:
    return list(layout.read(folder, SPLITS, (), BOUND))


def refusal(layout, folder: Path) -> str:
    with pytest.raises(FormatError) as caught:
        read(layout, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def put(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return folder


@settings(max_examples=40, deadline=None)
@given(parts_of(plain_names, targets=False, descriptions=False))
def test_what_is_written_in_fashion_iqs_layout_is_read_back(parts: list[Part]):
    with tempfile.TemporaryDirectory() as name:
        for part in parts:
            fashion_iq.write(Path(name), part)
        assert read(fashion_iq, Path(name)) == parts


@settings(max_examples=40, deadline=None)
@given(parts_of(paths, targets=True, descriptions=True))
def test_what_is_written_in_facaps_layout_is_read_back(parts: list[Part]):
    with tempfile.TemporaryDirectory() as name:
        for part in parts:
            facap_layout.write(Path(name), part)
        assert read(facap_layout, Path(name)) == parts


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_read_or_refused_in_one_sentence(data: bytes):
    for layout, file in ((fashion_iq, "cap.dress.val.json"), (fashion_iq, "split.dress.val.json"),
                         (facap_layout, "cir_triplets/dress_train_triplets.json"),
                         (facap_layout, "image_captions/dress_train_captions.json")):  # fmt: skip
        with tempfile.TemporaryDirectory() as name:
            try:
                read(layout, put(Path(name), file, data))
            except FormatError as error:
                assert file.split("/")[-1] in str(error)
                assert "\n" not in str(error)


@given(st.lists(json_values, max_size=6), st.sampled_from([None, 0, 4]))
def test_records_are_those_of_the_json_list_with_their_lines(values: list, indent: int | None):
    text = json.dumps(values, indent=indent)
    found = list(records(text, "x.json"))
    assert [value for _, value in found] == json.loads(text)
    lines = text.split("\n")
    assert all(json.dumps(value)[:1] in lines[line - 1] for line, value in found)


@given(st.dictionaries(texts, texts, max_size=5))
def test_mappings_are_read_as_json_reads_them(value: dict):
    assert mapping(dump(value), "x.json") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.json, line 1: should be a JSON list, begins ''"),
        ("{}", "x.json, line 1: should be a JSON list, begins '{}'"),
        ("[1,\n2,\n oops]", "x.json, line 3: Expecting value; should be JSON"),
        ("[1,\n2", "x.json, line 2: should be JSON: ',' or ']' is missing"),
        ("[1,\n2] \n[3]", "x.json, line 3: more text after the end of the JSON list"),
        ('[\n{"a": 1, "a": 2}]', "x.json, line 2: the key 'a' comes twice in one object"),
        ("[" * 100_000, "x.json, line 1: nested too deeply; should be JSON"),
        ("[" + "9" * 5000 + "]", "x.json, line 1: Exceeds the limit"),
        ('[\n"a\nb"]', "x.json, line 2: Invalid control character at; should be JSON"),
    ],
)
def test_malformed_json_is_named_by_file_and_line(text: str, message: str):
    with pytest.raises(FormatError) as caught:
        list(records(text, "x.json"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("text", "a record should be a JSON object, is a text"),
        ({"captions": []}, "the record has no 'candidate'"),
        ({"candidate": "a", "target": "b"}, "the record has no 'captions'"),
        (CAPTIONS | {"id": 1}, "unknown key 'id' in a record; known: candidate, captions, target"),
        (CAPTIONS | {"target": None}, "target should be a text, is null"),
        (CAPTIONS | {"candidate": 7}, "candidate should be a text, is a number"),
        (CAPTIONS | {"candidate": "../b"}, "candidate '../b' cannot be a file's name"),
        (CAPTIONS | {"candidate": "a\\b"}, "candidate 'a\\\\b' cannot be a file's name"),
        (CAPTIONS | {"candidate": ".."}, "candidate '..' cannot be a file's name"),
        (CAPTIONS | {"target": ""}, "target '' cannot be a file's name"),
        (CAPTIONS | {"captions": "x"}, "captions should be a list of at most 100 texts, is a text"),
        (
            CAPTIONS | {"captions": ["x"] * 101},
            "captions should be a list of at most 100 texts, is 101 texts",
        ),
        (CAPTIONS | {"captions": [["x"]]}, "a caption should be a text, is a list"),
        (CAPTIONS | {"captions": ["x" * 20_001]}, "a caption has 20001 characters, at most 20000 are taken"),
        (CAPTIONS | {"captions": ["\ud800"]}, "a caption has half a surrogate pair, which is no text"),
    ],
)
def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path, record: object, message: str):
    text = "[\n" + json.dumps(CAPTIONS) + ",\n" + json.dumps(record) + "\n]"
    put(tmp_path, "captions/cap.dress.val.json", text.encode())
    assert refusal(fashion_iq, tmp_path).startswith(f"cap.dress.val.json, line 3: {message}")


def test_lists_name_an_image_once_and_records_only_what_is_listed(tmp_path: Path):
    put(tmp_path, "image_splits/split.dress.val.json", b'["a",\n "b",\n "a"]')
    message = "split.dress.val.json, line 3: 'a' is listed twice; an image is listed once"
    assert refusal(fashion_iq, tmp_path) == message
    put(tmp_path, "image_splits/split.dress.val.json", ["a", "c"])
    put(tmp_path, "captions/cap.dress.val.json", [CAPTIONS])
    assert refusal(fashion_iq, tmp_path) == "cap.dress.val.json, line 1: 'b' is not in split.dress.val.json"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("cap.hat.val.json", "cap.hat.val.json: unknown category 'hat'; known: dress, jacket, "),
        ("cap.dress.json", "cap.dress.json: should be named cap.<category>.<train|val|test>.json"),
        ("cap.dress.dev.json", "cap.dress.dev.json: should be named cap.<category>.<train|val|test>.json"),
        ("notes.json", "{folder} holds no captions/cap.<category>.<split>.json and no "),
    ],
)
def test_files_of_other_names_are_refused(tmp_path: Path, file: str, message: str):
    assert refusal(fashion_iq, put(tmp_path, file, [])).startswith(message.format(folder=tmp_path))


def test_a_category_of_ones_own_is_read_once_it_is_named(tmp_path: Path):
    put(tmp_path, "cap.hat.val.json", [CAPTIONS])
    (part,) = fashion_iq.read(tmp_path, SPLITS, ("hat",), BOUND)
    assert part == Part("hat", "val", [Entry("a", "b", ("x",))])


def test_one_file_in_two_places_is_ambiguous(tmp_path: Path):
    put(tmp_path, "cap.dress.val.json", [])
    assert "is there twice" in refusal(fashion_iq, put(tmp_path, "captions/cap.dress.val.json", []))


def test_files_are_bounded_and_must_be_utf8(tmp_path: Path):
    put(tmp_path, "cap.dress.val.json", b"[" + b" " * BOUND + b"]")
    assert refusal(fashion_iq, tmp_path).endswith(
        "has over 1 MiB; raise imports.max_file_mib if that is right"
    )
    put(tmp_path, "cap.dress.val.json", b'[\n\n"\xff"]')
    assert refusal(fashion_iq, tmp_path).startswith("cap.dress.val.json, line 3: should be UTF-8")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (CAPTIONS | {"target": "/etc/passwd"}, "target '/etc/passwd' should be a relative path"),
        (CAPTIONS | {"candidate": "a/../../b"}, "candidate 'a/../../b' should be a relative path"),
        (CAPTIONS | {"candidate": "a//b"}, "candidate 'a//b' should be a relative path"),
        ({"candidate": "a", "captions": ["x"]}, "the record has no 'target'"),
    ],
)
def test_facaps_paths_stay_below_the_images_folder(tmp_path: Path, record: dict, message: str):
    put(tmp_path, "cir_triplets/dress_train_triplets.json", [record])
    assert refusal(facap_layout, tmp_path).startswith(f"dress_train_triplets.json, line 1: {message}")


def test_facaps_captions_are_texts_of_one_path_each(tmp_path: Path):
    put(tmp_path, "image_captions/dress_train_captions.json", {"a.jpg": 1})
    message = "dress_train_captions.json, image 'a.jpg': the caption should be a text, is a number"
    assert refusal(facap_layout, tmp_path) == message
    put(tmp_path, "image_captions/dress_train_captions.json", b'{"a.jpg": "x", "a.jpg": "y"}')
    assert "the key 'a.jpg' comes twice" in refusal(facap_layout, tmp_path)
    put(tmp_path, "image_captions/dress_train_captions.json", {HASHES[0]: "x", f"{HASHES[0]}.jpg": "y"})
    assert "with and without .jpg" in refusal(facap_layout, tmp_path)


def test_facaps_layout_as_published(tmp_path: Path):
    record = {"candidate": "f200k_images/1.jpg", "target": "dfmm_images/2.jpg", "captions": ["shorter"]}
    put(tmp_path, "cir_triplets/dress_train_triplets.json", [record])
    put(tmp_path, "image_captions/dress_train_captions.json", {"f200k_images/1.jpg": "a red dress"})
    (part,) = read(facap_layout, tmp_path)
    assert part.entries == [Entry("f200k_images/1.jpg", "dfmm_images/2.jpg", ("shorter",))]
    assert part.descriptions == {"f200k_images/1.jpg": "a red dress"}


def test_an_image_of_ours_is_a_jpg_in_facaps_layout(tmp_path: Path):
    part = Part("dress", "train", [Entry(HASHES[0], HASHES[1], ("x",))])
    facap_layout.write(tmp_path, part)
    (record,) = json.loads((tmp_path / "cir_triplets" / "dress_train_triplets.json").read_text())
    assert record == {"candidate": f"{HASHES[0]}.jpg", "target": f"{HASHES[1]}.jpg", "captions": ["x"]}
    assert read(facap_layout, tmp_path) == [part]


def test_facaps_layout_has_no_triplets_without_a_target(tmp_path: Path):
    with pytest.raises(
        FormatError, match=r"no triplets without a target, such as that of 'a'.*exports.splits"
    ):
        facap_layout.write(tmp_path, Part("dress", "test", [Entry("a", None, ("x",))]))


@pytest.mark.parametrize(
    ("captions", "text"),
    [
        (("is solid black.", " Has Straps?"), "Is solid black and Has Straps"),
        (("is Black", "", "longer"), "Is black and longer"),
        (("  keeps. everything, ",), "  keeps. everything, "),
        (("", " .?, "), None),
        ((" ",), None),
        ((), None),
    ],
)
def test_the_text_a_model_reads_is_joined_as_the_fields_code_joins_it(captions: tuple, text: str | None):
    assert joined(captions) == text


@given(st.lists(texts, max_size=4).map(tuple))
def test_captions_come_back_from_a_row_as_they_were(captions: tuple):
    row = to_row(Entry("a", "b", captions), "dress", "val", 3, {}, {})
    assert captions_of(row) == captions


@pytest.mark.parametrize(
    ("entry", "ids", "expected"),
    [
        (Entry("a", "b", ("x",)), {}, ("dress/a", "dress/b", "ok")),
        (Entry("a", "b", ("x",)), {"a": "1f", "b": "2f"}, ("1f", "2f", "ok")),
        (Entry("a", "b", ("x",)), {"a": "1f", "b": None}, ("1f", "dress/b", "no_picture")),
        (Entry("a", None, ("x",)), {"a": "1f"}, ("1f", "", "no_target")),
        (Entry("a", "b", ("",)), {}, ("dress/a", "dress/b", "empty")),
    ],
)
def test_ids_and_status_of_a_row(entry: Entry, ids: dict, expected: tuple):
    row = to_row(entry, "dress", "val", 0, {}, ids)
    assert (row["reference_id"], row["target_id"], row["status"]) == expected
    assert (row["error"] is None) == (row["status"] == "ok")


@given(paths, st.sampled_from(["dress", "top"]))
def test_names_come_back_from_ids(name: str, category: str):
    assert name_of(image_id_of(name, category), category) == name


@given(plain_names, st.sampled_from(SPLITS))
def test_products_fall_into_the_datasets_own_split(name: str, split: str):
    product = product_id_of(name, "toptee", split)
    assert split_of(product) == split
    assert product == product_id_of(name, "toptee", split)


def test_an_id_that_no_layout_can_name_is_refused():
    with pytest.raises(FormatError, match="neither a content hash"):
        name_of("p1-0", "dress")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "a\nb", "x" * 201])
def test_names_that_could_leave_a_folder_are_not_plain(name: str):
    assert not is_plain(name)
    assert not is_path(f"a/{name}") or name == "a/b"
