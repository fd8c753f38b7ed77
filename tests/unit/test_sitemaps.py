"""Sitemaps, indexes and product pages: from files, and from a server through the crawl's own fetcher."""

import gzip
import http.server
import io
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog import pipeline
from facap.catalog.config import CatalogConfig
from facap.catalog.documents import Fetched, kind_of
from facap.catalog.lines import Line, Unreadable, read_or_say
from facap.catalog.sitemaps import entries, folders, image_lines
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.errors import ConfigError, StageFailed
from facap.progress import Progress
from facap.schemas import OK
from facap.store import Store
from jobs.fetch_sources import source_fetch

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMES = (
    'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
    'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1" xmlns:xhtml="http://www.w3.org/1999/xhtml"'
)


def url(page: str, *images: str) -> str:
    pictures = "".join(
        f"<image:image><image:loc>{i}</image:loc><image:title>T</image:title></image:image>" for i in images
    )
    return (
        f"<url><loc>{page}</loc><lastmod>2026-01-01</lastmod>"
        f'<xhtml:link rel="alternate" hreflang="de" href="{page}/de"/>{pictures}</url>'
    )


def urlset(*urls: str) -> str:
    return f"{HEAD}<urlset {NAMES}>{''.join(urls)}</urlset>"


def index(*locs: str) -> str:
    parts = "".join(f"<sitemap><loc>{loc}</loc></sitemap>" for loc in locs)
    return f"{HEAD}<sitemapindex {NAMES}>{parts}</sitemapindex>"


def read(text: str | bytes) -> list[Line]:
    body = text if isinstance(text, bytes) else text.encode()
    return list(read_or_say(entries(io.BytesIO(body)), "sitemap"))


def test_a_page_and_its_pictures() -> None:
    text = urlset(
        url("https://a.example/women/maxi-dresses/7", "https://a.example/7.jpg", "https://a.example/8.jpg")
    )
    lines = list(image_lines(read(text)))
    assert [line["url"] for line in lines if isinstance(line, dict)] == [
        "https://a.example/7.jpg",
        "https://a.example/8.jpg",
    ]
    assert lines[0] == {
        "product_id": "https://a.example/women/maxi-dresses/7",
        "url": "https://a.example/7.jpg",
        "title": "T",
        "category": "women > maxi-dresses",
        "page": "https://a.example/women/maxi-dresses/7",
    }


def test_what_gives_nothing_is_said() -> None:
    lines = list(image_lines(read(urlset(url("https://a.example/about"), "<url><lastmod>x</lastmod></url>"))))
    assert [line.reason for line in lines if isinstance(line, Unreadable)] == ["no_image", "missing_loc"]


def test_an_index_and_other_roots() -> None:
    assert read(index("https://a.example/1.xml")) == [{"sitemap": "https://a.example/1.xml"}]
    (line,) = read("<rss/>")
    assert isinstance(line, Unreadable) and line.reason == "not_a_sitemap"
    (line,) = read('<!DOCTYPE urlset [<!ENTITY a "b">]><urlset/>')
    assert isinstance(line, Unreadable) and line.reason == "doctype_refused"


@pytest.mark.parametrize("address", ["", "https://a.example", "http://[bad/x/y", "https://a.example/x"])
def test_addresses_without_folders_name_no_category(address: str) -> None:
    assert folders(address) == ""


_PIECES = st.sampled_from(
    ["<url>", "</url>", "<loc>", "</loc>", "<image:image>", "</image:image>", "<image:loc>", "</image:loc>",
     "<sitemap>", "</sitemap>", "https://a.example/", "&amp;", "&x;"]
)  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=5), max_size=30), st.booleans())
@settings(deadline=None, max_examples=300)
def test_any_mixture_is_entries_or_one_reason(pieces: list[str], rooted: bool) -> None:
    text = f"<urlset {NAMES}>{''.join(pieces)}</urlset>" if rooted else "".join(pieces)
    lines = read(text.encode(errors="surrogatepass"))
    for line in image_lines(lines):
        assert isinstance(line, Unreadable) or {"product_id", "url", "category"} <= set(line)


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.csv.gz", b"", "csv"),
        ("A.XML", b"<?xml version='1.0'?><!-- <urlset> --><rss>", "feed"),
        ("a.txt", b"id\ttitle\n", "tsv"),
        ("a.xml", b"\xef\xbb\xbf <sitemapindex xmlns='x'>", "sitemapindex"),
        ("a.xml", b"<svg>", ""),
        ("a.pdf", b"<rss>", ""),
        ("https://a.example/export", b'{"sku": 1}\n', "jsonl"),
        ("https://a.example/export.aspx?f=a.csv", b"<feed xmlns='x'>", "feed"),
        ("https://a.example/p/7", b"<!DOCTYPE html><html>", "page"),
        ("https://a.example/export", b"PAR1", "parquet"),
    ],
)
def test_the_kind_of_a_document(name: str, head: bytes, kind: str) -> None:
    assert kind_of(name, head) == kind


def product(sku: str, category: str = "Dresses") -> str:
    return (
        "<html><head><script type='application/ld+json'>"
        f'{{"@context": "https://schema.org", "@type": "Product", "sku": "{sku}", "name": "N{sku}", '
        f'"category": "{category}", "image": ["/{sku}.jpg"]}}</script></head></html>'
    )


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # five would make the kernel drop connections, and each lasts a second then


class Shop:
    """A server of sitemaps and pages that counts what it is asked for."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                shop.asked[self.path] += 1
                body = shop.bodies.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.send_header("X-Robots-Tag", "noindex" if self.path.endswith(".xml") else "all")
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args: Any) -> None: ...

        self.server = Server(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, path: str, text: str, packed: bool = False) -> str:
        body = text.replace("SHOP", self.root).encode()
        self.bodies[path] = gzip.compress(body) if packed else body
        return self.root + path


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    thread = threading.Thread(target=shop.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


def run(folder: Path, source: str, local: bool = True, **config: Any):  # type: ignore[no-untyped-def]
    store = Store(str(folder / "workspace"))
    crawl = CrawlConfig(**{**LOCAL_SERVER, "attempts": 1}) if local else CrawlConfig()
    settings = CatalogConfig(manifest=source, **config)
    return store, pipeline.run(store, settings, Progress("catalog", io.StringIO()), source_fetch(crawl))


def test_an_index_is_followed_to_every_part(shop: Shop, tmp_path: Path) -> None:
    shop.put("/a.xml", urlset(url("SHOP/dresses/1", "SHOP/1.jpg"), url("SHOP/tops/2", "SHOP/2.jpg")))
    shop.put("/b.xml.gz", urlset(url("SHOP/hats/3", "SHOP/3.jpg")), packed=True)
    shop.put("/feed.xml", "<rss/>")
    shop.put("/nested.xml", index("SHOP/a.xml", "SHOP/b.xml.gz", "SHOP/index.xml"))
    source = shop.put("/index.xml", index("SHOP/nested.xml", "SHOP/gone.xml", "SHOP/feed.xml"))
    with pytest.raises(StageFailed, match=r"2 of 6 files .*source_http_404: .*/gone\.xml.* vanished"):
        run(tmp_path, source)
    shop.asked.clear()
    store, report = run(tmp_path, source, max_failed_documents=0.4)
    rows = {row["url"]: row for row in store.read("items").to_pylist()}
    assert {u.rpartition("/")[2]: row["category"] for u, row in rows.items()} == {
        "1.jpg": "dress",
        "2.jpg": "top",
        "3.jpg": "unmapped",
    }
    assert rows[f"{shop.root}/3.jpg"]["source"] == f"{shop.root}/b.xml.gz"
    assert report.failures == {"source_http_404": 1, "not_a_sitemap": 1} and report.note == "1 unmapped"
    assert shop.asked["/index.xml"] == shop.asked["/a.xml"] == 1
    _, again = run(tmp_path, source, max_failed_documents=0.4)
    assert again.reused and shop.asked["/a.xml"] == 2  # asked for, found unchanged
    shop.put("/a.xml", urlset(url("SHOP/dresses/1", "SHOP/1.jpg")))
    store, third = run(tmp_path, source, max_failed_documents=0.4)
    assert not third.reused and store.read("items").num_rows == 2


def test_pages_are_read_once_and_kept_when_others_join(shop: Shop, tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        shop.put(f"/p/{name}", product(name))
    shop.put("/about", "<html>nothing</html>")
    pages = [url(f"SHOP{page}") for page in ("/p/1", "/p/2", "/about", "/gone", "/p/1")]
    source = shop.put("/sitemap.xml", urlset(*pages, url("/p/3")))
    store, report = run(tmp_path, source, read_pages=True, max_failed_pages=0.5)
    rows = store.read("items").to_pylist()
    assert sorted(row["url"] for row in rows) == [f"{shop.root}/1.jpg", f"{shop.root}/2.jpg"]
    assert {row["category"] for row in rows} == {"dress"}
    assert report.failures == {"page_no_product": 1, "page_http_404": 1, "bad_url": 1}
    assert Counter(store.read("pages").column("status").to_pylist()) == {
        OK: 2,
        "no_product": 1,
        "http_404": 1,
    }
    asked = dict(shop.asked)
    shop.put("/sitemap.xml", urlset(*pages[:3], url("SHOP/p/3")))
    store, _ = run(tmp_path, source, read_pages=True)
    assert sorted(row["product_id"] for row in store.read("items").to_pylist()) == ["1", "2", "3"]
    assert shop.asked["/p/1"] == asked["/p/1"] == 1 and shop.asked["/p/3"] == 1
    shop.put("/p/1", product("1", "Tops"))
    store, _ = run(tmp_path, source, read_pages=True, pages_since="2999-01-01")
    assert shop.asked["/p/1"] == 2
    kinds = {row["product_id"]: row["category"] for row in store.read("items").to_pylist()}
    assert kinds == {"1": "top", "2": "dress", "3": "dress"}


def test_too_many_failing_pages_commit_nothing_and_are_tried_again(shop: Shop, tmp_path: Path) -> None:
    shop.put("/p/1", product("1"))
    source = shop.put("/sitemap.xml", urlset(url("SHOP/p/1"), url("SHOP/p/2")))
    with pytest.raises(StageFailed, match="pages: 1 of 2 rows failed"):
        run(tmp_path, source, read_pages=True)
    shop.put("/p/2", product("2"))
    _, report = run(tmp_path, source, read_pages=True)
    assert report.rows_out == 2 and not report.failures
    assert shop.asked["/p/1"] == 1 and shop.asked["/p/2"] == 2


def test_a_stopped_run_goes_on_with_the_missing_pages(shop: Shop, tmp_path: Path) -> None:
    source = shop.put("/sitemap.xml", urlset(*(url(f"SHOP/p/{n}") for n in range(1200))))
    for n in range(1200):
        shop.put(f"/p/{n}", product(str(n)))
    fetch = source_fetch(CrawlConfig(**{**LOCAL_SERVER, "attempts": 1}))

    def stops(addresses: Iterable[str], max_bytes: int, kind: str) -> Iterator[Fetched]:
        for number, answer in enumerate(fetch(addresses, max_bytes, kind)):
            if number == 700:
                raise KeyboardInterrupt
            yield answer

    store = Store(str(tmp_path / "workspace"))
    config = CatalogConfig(manifest=source, read_pages=True)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(store, config, Progress("catalog", io.StringIO()), stops)
    shop.asked.clear()
    store, report = run(tmp_path, source, read_pages=True)
    assert (
        report.rows_out == 1200 and sum(count for page, count in shop.asked.items() if "/p/" in page) == 700
    )


def test_a_folder_of_pages_feeds_and_tables(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    page = product("7").replace("<head>", '<head><link rel="canonical" href="https://a.example/p/7">')
    (folder / "b.html").write_text(page)
    (folder / "a.csv").write_text("product_id,category,url\n8,top,https://a.example/8.jpg\n")
    (folder / "c.xml.gz").write_bytes(
        gzip.compress(urlset(url("https://a.example/skirts/9", "https://a.example/9.jpg")).encode())
    )
    (folder / "notes.pdf").write_text("no source")
    store, report = run(tmp_path, str(folder))
    found = [
        (row["product_id"], row["category"], Path(row["source"]).name)
        for row in store.read("items").to_pylist()
    ]
    assert found == [
        ("8", "top", "a.csv"),
        ("7", "dress", "b.html"),
        ("https://a.example/skirts/9", "skirt", "c.xml.gz"),
    ]
    assert report.rows_in == 3


def test_private_addresses_are_refused_like_any_other(shop: Shop, tmp_path: Path) -> None:
    source = shop.put("/sitemap.xml", urlset())
    with pytest.raises(ConfigError, match=r"catalog\.manifest http.*allow_networks"):
        run(tmp_path, source, local=False)
    assert not shop.asked


def test_what_has_to_be_fetched_says_who_does(tmp_path: Path) -> None:
    (tmp_path / "index.xml").write_text(index("https://a.example/1.xml"))
    store, config = Store(str(tmp_path)), CatalogConfig(manifest=str(tmp_path / "index.xml"))
    with pytest.raises(ConfigError, match=r"'https://a\.example/1\.xml' has to be fetched"):
        pipeline.run(store, config, Progress("catalog", io.StringIO()))


def test_the_documentation_names_every_reason() -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs" / "sources.md").read_text()
    said = re.compile(r'(?:Unreadable|Lost|BrokenSource|Unusable)\(\s*"([a-z_]+)"')
    reasons = {
        reason
        for path in (root / "platform/facap/catalog").glob("*.py")
        for reason in said.findall(path.read_text())
    }
    assert {"bad_url", "doctype_refused", "source_unknown_kind"} <= reasons
    assert [reason for reason in reasons if f"`{reason}`" not in text] == []


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no file that ends in one of"):
        run(tmp_path, str(tmp_path))


_PAGES = st.lists(
    st.tuples(st.integers(0, 99), st.lists(st.integers(0, 99), max_size=3, unique=True)), max_size=6
)


@given(_PAGES, st.booleans(), st.sampled_from(["", "\n", "<!-- a -->\r\n", "Notice: x\n"]), st.integers(0, 1))
@settings(deadline=None, max_examples=100)
def test_an_undeclared_prefix_and_text_around_the_root_change_no_entry(
    pages: list[tuple[int, list[int]]], bare: bool, before: str, after: int
) -> None:
    found = [
        {
            "page": f"https://a.example/{page}",
            "images": [{"loc": f"https://a.example/{n}.jpg", "title": "T"} for n in images],
        }
        for page, images in pages
    ]
    text = urlset(*(url(e["page"], *(i["loc"] for i in e["images"])) for e in found))  # type: ignore[index, misc]
    for name in ("image", "xhtml") if bare else ():
        text = re.sub(rf' xmlns:{name}="[^"]*"', "", text)
    assert ("xmlns:image" in text) is not bare
    assert read(before + text + "\n<script>var a = 1 && 2</script>\0" * after) == found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_the_kind_is_seen_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    for number, (text, kind) in enumerate(
        [
            (f"\n<!-- {'x' * 9000} -->{index('https://a.example/1.xml')}", "sitemapindex"),
            (f"<br />\n<b>Warning</b>: x\n{urlset()}", "sitemap"),
            ("<!DOCTYPE html><html><body><feed></body></html>", "page"),
            ('{"sku": 1}\n', "jsonl"),
            ("id\ttitle\n", "tsv"),
            ("id;title\n", "csv"),
        ]
    ):
        assert kind_of("a.txt", text.encode(encoding)) == kind, number
