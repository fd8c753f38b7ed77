"""Google Merchant feeds: RSS and Atom as shops write them, and what is hostile."""

import io
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog import pipeline, xmlstream
from facap.catalog.config import CatalogConfig
from facap.catalog.feeds import feed_lines
from facap.catalog.items import Items
from facap.catalog.lines import BrokenSource, Line, Unreadable, read_or_say
from facap.catalog.xmlstart import MAX_DOCUMENTS
from facap.catalog.xmlstream import MAX_RECORD
from facap.errors import StageFailed
from facap.progress import Progress
from facap.store import Store

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<!-- made by a shop -->
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>
<title>A shop</title><link>https://a.example</link><description>All of it</description>
<item>
  <g:id>TV_123456</g:id><g:item_group_id>TV</g:item_group_id>
  <title>Name of RSS</title><g:title>Robe &amp; Kleid</g:title>
  <link>https://a.example/p/1</link>
  <description><![CDATA[A <b>midi</b> dress]]></description>
  <g:image_link>https://a.example/1.jpg?a=1&amp;b=2</g:image_link>
  <g:additional_image_link>https://a.example/1b.jpg</g:additional_image_link>
  <g:additional_image_link>https://a.example/1c.jpg</g:additional_image_link>
  <g:google_product_category>2271</g:google_product_category>
  <g:product_type>Women &gt; Dresses &gt; Midi</g:product_type>
  <g:shipping><g:country>US</g:country><g:price>14.95 USD</g:price></g:shipping>
  <g:price>25.00 EUR</g:price>
</item>
<item><g:id>2</g:id><title>No picture</title><g:product_type>Tops</g:product_type></item>
</channel></rss>"""

ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
<title>A shop</title><link rel="self" href="https://a.example"/><updated>2026-07-11T12:00:00Z</updated>
<entry><g:id>9</g:id><id>tag:a.example,9</id><title>Silk top</title>
<link href="https://a.example/p/9"/><link rel="edit" href="https://a.example/edit"/>
<g:image_link>https://a.example/9.jpg</g:image_link><g:product_type>Tops</g:product_type></entry></feed>"""

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 12))
    + "]><rss><channel><item><title>&a11;</title></item></channel></rss>"
)


def read(text: str | bytes) -> list[Line]:
    body = text if isinstance(text, bytes) else text.encode()
    return list(read_or_say(feed_lines(io.BytesIO(body)), "feed"))


def test_an_rss_feed_of_google_merchant() -> None:
    first, second = read(RSS)
    assert isinstance(first, dict) and isinstance(second, dict)
    assert first["title"] == "Robe & Kleid" and first["link"] == "https://a.example/p/1"
    assert first["description"] == "A <b>midi</b> dress" and first["price"] == "25.00 EUR"
    assert first["additional_image_link"] == ["https://a.example/1b.jpg", "https://a.example/1c.jpg"]
    assert "country" not in first and "shipping" not in first
    assert second == {"id": "2", "title": "No picture", "product_type": "Tops"}


def test_its_items() -> None:
    items = Items("feed")
    rows = items.table(read(RSS)).to_pylist(maps_as_pydicts="strict")
    assert [row["url"] for row in rows] == [
        "https://a.example/1.jpg?a=1&b=2",
        "https://a.example/1b.jpg",
        "https://a.example/1c.jpg",
    ]
    said = {(row["product_id"], row["category"], row["title"]) for row in rows}
    assert said == {("TV", "dress", "Robe & Kleid")}
    assert rows[0]["attributes"]["category"] == "2271 | Women > Dresses > Midi"
    assert items.failures == {"missing_url": 1}


def test_an_atom_feed() -> None:
    assert read(ATOM) == [
        {
            "id": "9",
            "title": "Silk top",
            "link": "https://a.example/p/9",
            "image_link": "https://a.example/9.jpg",
            "product_type": "Tops",
        }
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_the_encoding_is_what_the_declaration_says(encoding: str) -> None:
    text = RSS.replace("UTF-8", encoding).replace("midi", "größer").encode(encoding)
    assert "größer" in read(text)[0]["description"]  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE rss SYSTEM "http://evil.example/x.dtd"><rss/>',
        '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><item><title>&x;</title></item></rss>',
        '<!DOCTYPE rss [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><rss/>',
        f'<!DOCTYPE rss [<!ENTITY x "{"a" * 100_000}">]><rss><item>{"&x;" * 10_000}</item></rss>',
    ],
)
def test_document_types_are_refused_at_once(text: str) -> None:
    """For less CPU than a feed of 2,000 products takes on this machine, all of them honest."""
    head, product, _ = RSS.split("<item>")
    honest = head + 2000 * f"<item>{product}" + "</channel></rss>"
    began = time.thread_time()
    assert len(read(honest)) >= 2000
    started, before = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = read(text)
    assert isinstance(line, Unreadable) and line.reason == "doctype_refused"
    assert time.thread_time() - started < started - began
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


class Endless(io.RawIOBase):
    """`head`, then `piece` again and again, `size` bytes in all, made as they are read."""

    def __init__(self, head: bytes, piece: bytes, size: int) -> None:
        self.left, self.waiting, self.piece = size, head, piece

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self.waiting) < size:
            self.waiting += self.piece * (size // len(self.piece) + 1)
        taken, self.waiting = self.waiting[: min(size, self.left)], self.waiting[size:]
        self.left -= len(taken)
        return taken


@pytest.mark.parametrize(
    ("head", "piece", "reason"),
    [
        (b"<rss><item><title>", b"a" * 1000, "malformed_xml"),
        (b"<rss><item>", b"<g>y</g>", "malformed_xml"),
        (b"<rss ", b"a" * 1000, "malformed_xml"),
        (b"<rss><!-- ", b"a" * 1000, "malformed_xml"),
        (b'<rss a="', b"a" * 1000, "malformed_xml"),
        (b"", b"<rss>", "malformed_xml"),
        (b"<rss>", b"<x>y</x>" * 100, "malformed_xml"),
        (b"", b" ", "malformed_xml"),
        (b"<!-- ", b"a" * 1000, "malformed_xml"),
        (b"no XML at all ", b"a" * 1000, "malformed_xml"),
        (b"<rss>", b"</", "malformed_xml"),
        (b"\xff\xfe<\0r\0s\0s\0>\0", b"a\0", "malformed_xml"),
    ],
)
def test_what_never_ends_is_given_up_in_bounded_memory(head: bytes, piece: bytes, reason: str) -> None:
    before, size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 10 * MAX_RECORD
    lines = list(read_or_say(feed_lines(Endless(head, piece, size)), "feed"))  # type: ignore[arg-type]
    assert [line.reason for line in lines if isinstance(line, Unreadable)] == [reason]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000  # KiB, of 10 MB sent


def test_a_record_that_is_too_large_costs_itself_only() -> None:
    long = "<item><g:id>3</g:id>" + "<g:x>long</g:x>" * (MAX_RECORD // 4) + "</item>"
    many = "<item><g:id>4</g:id>" + "<g:x/>" * (MAX_RECORD + 1) + "</item>"
    lines = read(RSS.replace("<item>", f"{long}{many}<item>", 1))
    assert [getattr(line, "reason", "fine") for line in lines] == [*["record_too_large"] * 2, *["fine"] * 2]


def test_what_came_before_a_break_is_kept() -> None:
    lines = read(RSS.replace("No picture", "No & picture"))
    assert len(lines) == 2 and isinstance(lines[0], dict)
    assert (
        isinstance(lines[1], Unreadable) and lines[1].reason == "malformed_xml" and "line 1" in lines[1].seen
    )


def test_a_feed_that_breaks_off_makes_no_version_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "feed.xml").write_text(RSS.replace("No picture", "No & picture"))
    store = Store(str(tmp_path / "workspace"))
    config = CatalogConfig(manifest=str(tmp_path / "feed.xml"))
    with pytest.raises(StageFailed, match=r"1 of 1 files .*malformed_xml") as raised:
        pipeline.run(store, config, Progress("catalog", io.StringIO()))
    assert store.manifest("items") is None and "\n" not in str(raised.value)
    config = config.model_copy(update={"max_failed_documents": 1.0})
    report = pipeline.run(store, config, Progress("catalog", io.StringIO()))
    assert report.rows_out == 3 and report.failures == {"malformed_xml": 1}


def test_fields_without_their_prefix_are_read_too() -> None:
    (line, _) = read(RSS.replace("<g:", "<").replace("</g:", "</"))
    assert isinstance(line, dict) and line["id"] == "TV_123456" and len(line["additional_image_link"]) == 2


def test_another_root_is_said() -> None:
    with pytest.raises(BrokenSource, match="the root is <urlset>"):
        list(feed_lines(io.BytesIO(b"<urlset/>")))


_PIECES = st.sampled_from(
    ["<item>", "</item>", "<entry>", "</entry>", "<g:id>", "</g:id>", "<rss>", "</rss>",
     "<title>", "</title>", "<link href='x'/>",
     "x", "&amp;", "&x;", "<![CDATA[", "]]>", "<!--", "-->", "\0", "<?pi?>", "é"]
)  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=5), max_size=40), st.booleans())
@settings(deadline=None, max_examples=300)
def test_any_mixture_is_lines_or_one_reason(pieces: list[str], rooted: bool) -> None:
    text = "".join(pieces)
    if rooted:
        text = f'<rss xmlns:g="http://base.google.com/ns/1.0"><item>{text}</item></rss>'
    lines = read(text.encode(errors="surrogatepass"))
    assert all(isinstance(line, dict) for line in lines[:-1])
    Items("feed").table(lines)


def test_one_broken_item_costs_itself_only() -> None:
    text = RSS.replace("Robe", "R?be").replace("A <b>midi", "\x0b<b>midi").encode().replace(b"R?", b"R\xf6")
    first, second = read(text)
    assert (
        isinstance(first, dict) and first["title"].startswith("R\udcff") and "\udcff" in first["description"]
    )
    items = Items("feed")
    items.table([first, second])
    assert items.failures == {"bad_text": 3, "missing_url": 1}


def test_an_undeclared_prefix_is_not_the_name_without_it() -> None:
    for text in (RSS, ATOM):
        bare = text.replace(' xmlns:g="http://base.google.com/ns/1.0"', "")
        assert bare != text and read(bare) == read(text)


_JUNK = st.lists(
    st.sampled_from(
        ["\n", "\r\n", "  ", "<!-- <rss> -->", "<br />", "<b>Warning</b>: &x;", "<script>a<b</script>", "\t"]
    )
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<\0"), max_size=8),
    max_size=5,
).map("".join)


@given(
    st.sampled_from([RSS, RSS[39:], ATOM]),
    _JUNK,
    _JUNK,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    st.integers(1, 40),
)
@settings(deadline=None, max_examples=200)
def test_junk_around_the_root_and_any_encoding_change_no_item(
    text: str, before: str, after: str, encoding: str, size: int
) -> None:
    if encoding in ("utf-16-le", "utf-16-be"):  # without a mark two ASCII letters have to show it
        before = "\n\n" + before
    body = (before + text + after).encode(encoding)
    pieces = Pieces(body, size)
    assert list(read_or_say(feed_lines(pieces), "feed")) == read(text)  # type: ignore[arg-type]


class Pieces(io.BytesIO):
    """A file that gives `size` bytes at a time."""

    def __init__(self, body: bytes, size: int) -> None:
        super().__init__(body)
        self.size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self.size)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_two_documents_in_one_file_are_both_read(size: int) -> None:
    both = Pieces(f"{RSS}\n{ATOM}\n<!-- {ATOM} -->".encode(), size)
    lines = list(read_or_say(feed_lines(both), "feed"))  # type: ignore[arg-type]
    assert lines == [*read(RSS), *read(ATOM)]


SMALL = b"<rss><channel><item><g:id>1</g:id></item></channel></rss>"


def test_more_documents_than_a_shop_joins_end_the_file() -> None:
    assert [*map(type, read(SMALL * MAX_DOCUMENTS + b"\n"))] == [dict] * MAX_DOCUMENTS
    *lines, end = read(SMALL * (MAX_DOCUMENTS + 1))
    assert lines == read(SMALL) * MAX_DOCUMENTS
    assert isinstance(end, Unreadable) and end.reason == "malformed_xml" and "1000 documents" in end.seen


def test_each_document_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        ends = 0

        def finditer(self, piece: bytes) -> Iterator[re.Match[bytes]]:
            for found in end.finditer(piece):
                self.ends += 1
                yield found

    end, counting = xmlstream._END, Counting()
    monkeypatch.setattr(xmlstream, "_END", counting)
    assert read(b"<rss></rss>" * 900) == []
    assert counting.ends == 900


def test_a_second_document_that_is_none_of_ours_is_said() -> None:
    *lines, end = read(f"{RSS}<urlset/>")
    assert lines == read(RSS) and isinstance(end, Unreadable) and end.reason == "not_a_feed"
