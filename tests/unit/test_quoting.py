"""Text of others in messages of ours."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.catalog.lines import MESSAGE, BrokenSource, Lost, Unreadable, read_or_say
from facap.progress import Progress
from facap.quoting import SHOWN, printable, shown, without_login


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plain été 裙", "plain été 裙"),
        (b"caf\xe9".decode(errors="surrogateescape"), "caf\\xe9"),
        ("\ud83d alone", "\\ud83d alone"),
        ("a\0b\nc\x1b[31m", "a\\x00b\\nc\\x1b[31m"),
        ("\u202eesrever\u2028", "\\u202eesrever\\u2028"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, says: str) -> None:
    assert printable(text) == shown(text) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://ann:secret@mlflow:5000/a does not answer", "http://mlflow:5000/a does not answer"),
        ("postgresql+psycopg://ann:s@cret@db/mlflow", "postgresql+psycopg://db/mlflow"),
        ("of http://token@a/b and https://x:y@c", "of http://a/b and https://c"),
        ("http://host:5000/models/a@champion, ann@shop.example", None),
        ("sqlite:////w/mlflow.db", None),
        ("s3://bucket/a?who=b@c", None),
    ],
)
def test_an_address_is_shown_without_what_logs_in(text: str, says: str | None) -> None:
    assert without_login(text) == (text if says is None else says)


def test_long_text_is_cut() -> None:
    assert shown("x" * 10**6) == "x" * SHOWN + "..." and shown("\0" * 10, 8) == "\\x00\\x00..."


def test_what_has_no_text_is_shown_by_its_kind() -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "list" in shown(deep) and "int" in shown(10**10_000)


@given(st.text(st.characters()), st.text(st.characters()), st.integers(1, 300))
def test_any_text_is_one_bounded_line(text: str, name: str, most: int) -> None:
    said = shown(text, most)
    assert said.isprintable() and len(said) <= most + 3 and said.encode() is not None
    (lost,) = read_or_say(_broken(text), name)
    assert isinstance(lost, Lost)
    for seen in (lost.seen, Unreadable("bad_text", text).seen, str(BrokenSource("bad_text", text))):
        assert seen.isprintable() and len(seen) <= 2 * MESSAGE + 3
    out = io.StringIO()
    Progress("catalog", out).say(text)
    assert out.getvalue().count("\n") == 1 and out.getvalue().encode()


def _broken(text: str):  # type: ignore[no-untyped-def]
    raise BrokenSource("malformed_xml", text)
    yield
