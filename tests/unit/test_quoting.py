"""Text of others in messages of ours."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facap.catalog.lines import MESSAGE, BrokenSource, Lost, Unreadable, read_or_say
from facap.progress import Progress
from facap.quoting import SHOWN, printable, shown, without_secrets


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
        ("s3://bucket/a?who=b@c", "s3://bucket/a"),
    ],
)
def test_an_address_is_shown_without_what_logs_in(text: str, says: str | None) -> None:
    assert without_secrets(text) == (text if says is None else says)


def test_long_text_is_cut() -> None:
    assert shown("x" * 10**6) == "x" * SHOWN + "..." and shown("\0" * 10, 8) == "\\x00\\x00..."


def test_what_has_no_text_is_shown_by_its_kind() -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "list" in shown(deep) and "int" in shown(10**10_000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "redirect from https://b.example/a.jpg?X-Sig=SECRET: no",
            "redirect from https://b.example/a.jpg: no",
        ),
        ("400, url='https://b.example/a.jpg?t=SECRET'", "400, url='https://b.example/a.jpg'"),
        ("to host https://me:SECRET@b.example:8443/a", "to host https://b.example:8443/a"),
        ("//me:SECRET@b.example?SECRET#SECRET", "//b.example"),
        ("https://b.example/a.jpg#SECRET (tls)", "https://b.example/a.jpg (tls)"),
        ("{'url': 'b.example/a.jpg?sig=SECRET', 'n': 1}", "{'url': 'b.example/a.jpg', 'n': 1}"),
        (
            "https://a.example/1.jpg,https://me:SECRET@b.example/2.jpg?SECRET",
            "https://a.example/1.jpg,https://b.example/2.jpg",
        ),
        ("s3://me:SECRET@bucket/x.csv", "s3://bucket/x.csv"),
        ("why? a // b, me@b.example #1", "why? a // b, me@b.example #1"),
        ({"url": "https://b.example/a?x='SECRET'&y"}, "{'url': \"https://b.example/a\"}"),
    ],
)
def test_an_address_is_said_by_host_and_path(text: object, says: str) -> None:
    assert without_secrets(text) == says and "SECRET" not in without_secrets(text)
    assert without_secrets(without_secrets(text)) == without_secrets(text)


@given(
    st.text(st.sampled_from("/?#@:=., 'ab")),
    st.sampled_from(
        ["https://b.example/a.jpg?{}", "http://{}@b.example/", "//b.example#{}", "b.example/a?s={}"]
    ),
    st.sampled_from([": no host", "'", ", b", ""]),
)
def test_no_text_around_an_address_brings_its_secret_out(before: str, address: str, after: str) -> None:
    assert "SECRET" not in without_secrets(f"{before} {address.format('SECRET')}{after}")


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
