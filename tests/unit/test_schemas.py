"""conform() and from_rows(): what holds every writer to its contract."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.errors import ContractError
from facap.schemas import ITEMS, PAIRS, SCHEMAS, conform, dataset_name, from_rows, key_columns, schema_version

PAIR = {"reference_id": "a", "target_id": "b", "category": "dress", "similarity": 0.5, "split": "train"}
ITEM = {
    "item_id": "i",
    "product_id": "p",
    "category": "top",
    "url": "http://shop.example/1.jpg",
    "title": None,
    "attributes": None,
    "source": "feed.csv",
}

text = st.text(max_size=8)
item_rows = st.lists(
    st.fixed_dictionaries(
        {**{name: text for name in ("item_id", "product_id", "category", "url", "source")}},
        optional={
            "title": st.none() | text,
            "attributes": st.none() | st.dictionaries(text, text, max_size=3),
        },
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_field_says_what_it_is_and_every_schema_has_a_version(name: str):
    schema = SCHEMAS[name]
    assert dataset_name(schema) == name.upper()
    assert schema_version(schema) >= 1
    assert {c for c in key_columns(schema) if schema.field(c).nullable} <= {"place"}  # null: not imported
    assert not schema.field(key_columns(schema)[0]).nullable
    assert all(len(field.metadata[b"doc"]) > 3 for field in schema)
    assert len(set(schema.names)) == len(schema.names)


@pytest.mark.parametrize("name", ["images", "captions", "triplets", "answers", "verdicts"])
def test_stages_that_can_fail_have_a_status_and_an_error(name: str):
    assert not SCHEMAS[name].field("status").nullable
    assert SCHEMAS[name].field("error").nullable


def test_columns_come_out_cast_and_in_the_order_of_the_schema():
    table = pa.table({name: [PAIR[name]] for name in reversed(list(PAIR))})
    assert table.schema.field("similarity").type == pa.float64()
    assert conform(table, PAIRS).schema.equals(PAIRS, check_metadata=True)


def test_a_missing_nullable_column_is_null():
    table = from_rows([{k: v for k, v in ITEM.items() if v is not None}], ITEMS)
    assert table.column("title").to_pylist() == [None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": ["red"]}, "PAIRS: unknown column 'colour'"),
        ({"similarity": ["close"]}, "PAIRS: column 'similarity' should be float, is string"),
        ({"target_id": [None]}, "PAIRS: column 'target_id' has 1 nulls"),
    ],
)
def test_conform_names_the_dataset_and_the_column(change: dict, message: str):
    table = pa.table({**{k: [v] for k, v in PAIR.items()}, **change})
    with pytest.raises(ContractError, match=message):
        conform(table, PAIRS)


def test_a_missing_required_column_is_refused():
    table = pa.table({k: [v] for k, v in PAIR.items() if k != "split"})
    with pytest.raises(ContractError, match="PAIRS: required column 'split' is missing"):
        conform(table, PAIRS)


@pytest.mark.parametrize("name", [f.name for f in PAIRS if not f.nullable])
def test_from_rows_refuses_a_null_or_absent_required_value(name: str):
    with pytest.raises(ContractError, match=f"column '{name}' has 1 nulls"):
        from_rows([{**PAIR, name: None}], PAIRS)
    with pytest.raises(ContractError, match=f"column '{name}' has 1 nulls"):
        from_rows([{k: v for k, v in PAIR.items() if k != name}], PAIRS)


def test_from_rows_refuses_unknown_keys_and_wrong_types():
    with pytest.raises(ContractError, match="unknown column 'colour'"):
        from_rows([PAIR, {**PAIR, "colour": "red"}], PAIRS)
    with pytest.raises(ContractError, match="column 'similarity'"):
        from_rows([{**PAIR, "similarity": "close"}], PAIRS)


@pytest.mark.parametrize(
    "value",
    [{"colour": "red", "fit": "slim"}, [("colour", "red"), ("fit", "slim")],
     [{"key": "colour", "value": "red"}, {"key": "fit", "value": "slim"}]],
)  # fmt: skip
def test_maps_are_taken_in_each_form_that_ray_and_arrow_hand_them_back(value: object):
    table = from_rows([{**ITEM, "attributes": value}], ITEMS)
    assert table.column("attributes").to_pylist() == [[("colour", "red"), ("fit", "slim")]]


def test_conform_takes_the_list_of_structs_that_ray_makes_of_a_map():
    structs = pa.array([[{"key": "colour", "value": "red"}], None])
    columns = {k: pa.array([v, v], pa.string()) for k, v in ITEM.items()} | {"attributes": structs}
    assert conform(pa.table(columns), ITEMS).column("attributes").to_pylist() == [[("colour", "red")], None]


def test_a_column_of_nulls_without_a_type_is_cast_even_where_a_map_is_wanted():
    columns = {k: pa.array([v], pa.string()) for k, v in ITEM.items()} | {"attributes": pa.nulls(1)}
    assert conform(pa.table(columns), ITEMS).column("attributes").to_pylist() == [None]


@given(item_rows)
def test_rows_come_back_as_they_went_in(rows: list[dict]):
    table = from_rows(rows, ITEMS)
    assert table.schema.equals(ITEMS, check_metadata=True)
    back = table.to_pylist(maps_as_pydicts="strict")
    assert back == [{**dict.fromkeys(ITEMS.names), **row} for row in rows]


@given(item_rows)
def test_conform_changes_nothing_that_conforms(rows: list[dict]):
    table = from_rows(rows, ITEMS)
    assert conform(table, ITEMS).equals(table)
    assert conform(pa.concat_tables([table, table]), ITEMS).num_rows == 2 * len(rows)


def documentation(name: str) -> str:
    """What docs/data-contracts.md says of a dataset."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "data-contracts.md").read_text()
    return text.split(f"## {name.upper()}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_documentation_names_the_version_once(name: str):
    assert re.findall(r"\bVersion (\d+)\b", documentation(name)) == [str(schema_version(SCHEMAS[name]))]


def test_the_documentation_names_every_column_with_its_meaning():
    for name, schema in SCHEMAS.items():
        section = documentation(name)
        for field in schema:
            assert f"| `{field.name}` |" in section, (name, field.name)
            assert field.metadata[b"doc"].decode().replace("|", "\\|") in section, (name, field.name)
