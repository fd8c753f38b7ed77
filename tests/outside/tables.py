"""Tables, feeds and sitemaps as shops export them: what ITEMS are made of each, and what is said of it."""

import codecs
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facap.catalog import pipeline
from facap.catalog.config import CatalogConfig
from facap.errors import FacapError
from facap.progress import Progress
from facap.store import Store
from tests.outside.case import GIVEN, Case

KIND = "tables"
SHOP = "https://a.example/"
WOO = {"product_id": "ID", "url": "Images", "category": "Categories"}
SHOPIFY = {"product_id": "Handle", "url": "Image Src", "category": "Type"}
DECLARED = '<?xml version="1.0" encoding="UTF-8"?>'
G = 'xmlns:g="http://base.google.com/ns/1.0"'
IMAGE = 'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"'
PHP = "<br />\n<b>Warning</b>:  Undefined variable $x in <b>/var/www/feed.php</b> on line <b>3</b><br />\n"


def items(path: Path, **settings: Any) -> list[str]:
    """What the catalogue makes of a source, an item each; and what it counts or says instead."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as workspace:
        store = Store(workspace)
        config = CatalogConfig(manifest=str(path), **settings)
        try:
            report = pipeline.run(store, config, Progress("catalog", said))
        except FacapError as error:
            return [f"{type(error).__name__}: {error}".replace(str(path), path.name)]
        rows = store.read("items").to_pylist()
    said.getvalue().encode()  # fit to be printed
    found = [f"{row['product_id']} {row['category']} {row['url'].removeprefix(SHOP)}" for row in rows]
    return found + [f"{count} {reason}" for reason, count in report.failures.items()]


def given(folder: str, name: str, expected: list[str], **settings: Any) -> Case:
    """A file of shared/cases."""
    return Case(KIND, name, expected, lambda _: items(GIVEN / folder / name, **settings), given=folder)


def made(name: str, body: bytes | str, expected: list[str], **settings: Any) -> Case:
    """A file of `body`; the last word of `name` is its name."""

    def seen(folder: Path) -> list[str]:
        path = folder / name.rpartition(" ")[2]
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        return items(path, **settings)

    return Case(KIND, name, expected, seen)


def says(name: str, body: bytes, words: list[str], **settings: Any) -> Case:
    """As `made`, of an error: which of `words` it says; it has one line, fit to be printed."""

    def seen(folder: Path) -> list[str]:
        path = folder / name.rpartition(" ")[2]
        path.write_bytes(body)
        (error,) = items(path, **settings)
        return [word for word in words if word in error] if error.isprintable() else [ascii(error)]

    return Case(KIND, name, words, seen)


def feed(*items: str, root: str = f'rss version="2.0" {G}', before: str = DECLARED) -> str:
    """A product feed of `items`."""
    return f"{before}<{root}><channel><title>s</title>{''.join(items)}</channel></{root.split()[0]}>"


def item(number: int, title: str = "Robe") -> str:
    """One item of a feed."""
    return (
        f"<item><g:id>{number}</g:id><title>{title}</title><g:image_link>{SHOP}{number}.jpg</g:image_link>"
        "<g:product_type>Dresses</g:product_type></item>"
    )


def sitemap(*pages: int, names: str = IMAGE, before: str = DECLARED) -> str:
    """A sitemap of pages with a picture each."""
    urls = "".join(
        f"<url><loc>{SHOP}dresses/{n}</loc>"
        f"<image:image><image:loc>{SHOP}{n}.jpg</image:loc></image:image></url>"
        for n in pages
    )
    return f"{before}<urlset{PROTOCOL} {names}>{urls}</urlset>"


PROTOCOL = ' xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def pages(*numbers: int) -> list[str]:
    """The items of `sitemap`."""
    return [f"{SHOP}dresses/{n} dress {n}.jpg" for n in numbers]


ONE, TWO = "1 dress 1.jpg", "2 dress 2.jpg"
TABLE = f"id,title,image_link,product_type\n1,Robe d'été,{SHOP}1.jpg,Dresses\n2,Robe,{SHOP}2.jpg,Dresses\n"
TABS = TABLE.replace(",", "\t").replace("_", " ")
SEMICOLONS = TABLE.replace(",", ";")
OBJECTS = "".join(
    json.dumps({"id": str(n), "title": "Été", "image_link": f"{SHOP}{n}.jpg", "product_type": "Dresses"})
    + "\n"
    for n in (1, 2)
)
W = "https://res.example.com/w_800,h_1000,c_fill/v1/"
LISTS = "".join(
    json.dumps({"id": str(n), "image_link": f"{W}{n}.jpg", "product_type": "Dresses"}) + "\n" for n in (1, 2)
)
MANY = sitemap(*range(3000))
LINES = "id,image_link,product_type\n" + "".join(f"{n},{SHOP}{n}.jpg,Dresses\n" for n in range(3000))
MERCHANT = (
    "id\ttitle\tdescription\tlink\timage link\tadditional image link\tproduct type\titem group id\n"
    f'1-s\t12" heel dress\t"Two\nlines"\t{SHOP}p/1\t{SHOP}1.jpg\t{SHOP}2.jpg,{SHOP}3.jpg\tDresses\t1\n'
)
FACEBOOK = (
    "id,title,description,availability,condition,price,link,image_link,brand,google_product_category,"
    'additional_image_link\r\n1,Robe,"It ""fits"",\r\nlike so",in stock,new,9.00 EUR,'
    f'{SHOP}p/1,{SHOP}1.jpg,Acme,Apparel & Accessories > Clothing > Dresses,"{SHOP}2.jpg,{SHOP}3.jpg"\r\n'
)
EXCEL = "sep=;\r\nID;Title;Image Link;Product Type\r\n" + f"1;Robe;{SHOP}1.jpg;Dresses\r\n;;;\r\n"
SHOPIFY_VARIANTS = (
    "Handle,Title,Body (HTML),Vendor,Type,Option1 Value,Variant SKU,Image Src,Image Alt Text\n"
    f'wrap,Wrap dress,"<p>A, b\n""c""</p>",Acme,Dresses,S,W-S,{SHOP}1.jpg,\n'
    f"wrap,,,,,M,W-M,{SHOP}2.jpg?v=1,back\nwrap,,,,,L,W-L,,\nslip,,,,,S,S-S,{SHOP}3.jpg,\n"
)
WOO_EXPORT = (
    "\ufeffID,Type,SKU,Name,Published,Categories,Images,Parent\n"
    f'7,variable,WD,"Wrap, long",1,"Women > Dresses, New in","{SHOP}7.jpg, {SHOP}w_1,h_2/7-b.jpg",\n'
    f"8,variation,WD-S,,1,,{SHOP}8.jpg,id:7\n"
)
LATIN = feed(item(1, "Été"), before='<?xml version="1.0" encoding="iso-8859-1"?>').encode("latin-1")
ATOM = (
    '<feed xmlns="http://www.w3.org/2005/Atom"><id>tag:a</id><entry><id>tag:1</id>'
    f"{item(1).removeprefix('<item>').removesuffix('</item>')}</entry></feed>"
)
DOCTYPE = "<!DOCTYPE rss [<!ENTITY a 'b'>]>"
LATE_DOCTYPE = f"\n<!-- -->{DECLARED}{DOCTYPE}{feed(item(1), before='')}"
PRODUCTS = "https://a.example/women/dresses/"
HOSTILE = b'id,title,image_link,"\x1b[31mtype\n\0"\n'


def _cut(text: str) -> bytes:
    packed = gzip.compress(text.encode())
    return packed[: len(packed) // 2]


def _kept(name: str, body: bytes, one: str) -> Case:
    """A gzip file cut in two: items of what came before, and the reason, under a limit that lets it pass."""

    def seen(folder: Path) -> tuple[bool, str, bool]:
        path = folder / name.rpartition(" ")[2]
        path.write_bytes(body)
        found = items(path, max_failed_documents=1.0)
        (error,) = items(path)
        return one in found and len(found) > 500, found[-1], "corrupt_gzip" in error

    return Case(KIND, name, (True, "1 corrupt_gzip", True), seen)


def _table_settings(categories: Any) -> Callable[[Path], Any]:
    def seen(folder: Path) -> Any:
        path = folder / "a.csv"
        path.write_text(TABLE.replace("Dresses", "Kleider"), encoding="utf-8")
        try:
            return items(path, categories=categories)
        except ValueError as error:
            return "{dress: [kleid, kleider]}" in str(error) and "YAML file" in str(error)

    return seen


CASES = [
    given("utf16", "utf16.csv", [ONE, TWO]),
    given("utf16", "utf16.tsv", [ONE, TWO]),
    given("cp1252_header", "cp1252_header.csv", [ONE, TWO, "1 bad_heading"]),
    given(
        "woocommerce_images", "woo.csv", ["7 dress 7.jpg", "7 dress 7-back.jpg", "8 dress 8.jpg"], columns=WOO
    ),
    given(
        "comma_in_url",
        "comma.xml",
        [f"1 dress https://res.example.com/shop/image/upload/w_800,h_1000,c_fill/v1/{n}.jpg" for n in "abc"],
    ),
    given("comma_in_url", "comma_list.txt", [ONE, "1 dress 2.jpg", "1 dress 3.jpg"]),
    given(
        "shopify_rows",
        "shopify.csv",
        ["wrap dress 1.jpg", "wrap dress 2.jpg", "wrap dress 3.jpg", "slip dress 4.jpg"],
        columns=SHOPIFY,
    ),
    given("xml_prolog", "leading_space.xml", [ONE]),
    given("xml_prolog", "sm_leading_blank.xml", [f"{PRODUCTS}d{n} dress {n}.jpg" for n in (1, 2)]),
    given("xml_epilog", "sm_trailing.xml", [f"{PRODUCTS}d{n} dress {n}.jpg" for n in (1, 2)]),
    given("gzip_trailer", "sm_gz_trailer.xml.gz", [f"{PRODUCTS}d{n} dress {n}.jpg" for n in (1, 2)]),
    given(
        "gzip_trailer",
        "sm_cut.xml.gz",  # only gzip's own last bytes are gone
        [f"{PRODUCTS}d{n} dress {u}" for n, u in enumerate(("1.jpg", "i.php?id=2&w=800", "3.jpg"), 1)],
    ),
    given("undeclared_prefix", "sm_no_ns.xml", [f"{PRODUCTS}d{n} dress {n}.jpg" for n in (1, 2)]),
    *(
        made(f"{e} a.csv", TABLE.encode(e), [ONE, TWO])
        for e in ("utf-8-sig", "utf-16", "utf-32", "utf-16-le")
    ),
    made("UTF-16 big-endian a.csv", codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"), [ONE, TWO]),
    made("UTF-16 a.txt", TABS.encode("utf-16"), [ONE, TWO]),
    made("UTF-16 a.jsonl", OBJECTS.encode("utf-16"), [ONE, TWO]),
    made("UTF-16 with a declaration of UTF-8 a.xml", feed(item(1)).encode("utf-16"), [ONE]),
    made("UTF-16 without declaration a.xml", sitemap(1, before="").encode("utf-16"), pages(1)),
    made("UTF-32 a.xml", sitemap(1).encode("utf-32"), pages(1)),
    made("UTF-16 in gzip a.xml.gz", gzip.compress(sitemap(1).encode("utf-16")), pages(1)),
    made(
        "UTF-8 that says it is UTF-16 a.xml",
        sitemap(1, before='<?xml version="1.0" encoding="utf-16"?>'),
        pages(1),
    ),
    made("Latin-1 that says so a.xml", LATIN, [ONE]),
    made(
        "a byte that is not UTF-8 a.xml",
        feed(item(1), item(2, "Caf?")).encode().replace(b"?<", b"\xe9<"),
        [ONE, "1 bad_text"],
    ),
    made("a control character a.xml", feed(item(1, "a\x0bb"), item(2)), [TWO, "1 bad_text"]),
    made("a row that is not UTF-8 a.csv", TABLE.encode("cp1252"), [TWO, "1 bad_text"]),
    says(
        "a required heading that is not UTF-8 a.csv",
        TABLE.replace("product_type", "catégorie").encode("cp1252"),
        [
            "ContractError",
            "no column 'category'",
            "the header is not UTF-8: cat\\xe9gorie",
            "save the table as UTF-8",
        ],
        columns={"category": "catégorie"},
    ),
    says(
        "a heading of control characters a.csv",
        HOSTILE + b"1,a,b,c\n",
        ["ContractError", "\\x1b[31mtype\\n\\x00"],
    ),
    says("NULs a.csv", b"id,image_link,product_type\n\0,\0,\0\n", ["StageFailed", "bad_url", "\\x00"]),
    says(
        "half a surrogate pair a.jsonl",
        b'{"\\ud800": 1, "id": "\\udc80"}\n',
        ["ContractError", "\\ud800, id"],
    ),
    made("semicolons a.csv", SEMICOLONS, [ONE, TWO]),
    made("bars a.csv", TABLE.replace(",", "|"), [ONE, TWO]),
    made("tabs a.csv", TABLE.replace(",", "\t"), [ONE, TWO]),
    made("semicolons a.tsv", SEMICOLONS, [ONE, TWO]),
    made("sep=; a.csv", EXCEL, [ONE]),
    made("sep=; in UTF-16 a.csv", EXCEL.encode("utf-16"), [ONE]),
    made("blank lines before the header a.csv", f"\r\n\r\n{TABLE}", [ONE, TWO]),
    made("a delimiter after the last cell a.csv", TABLE.replace("Dresses", "Dresses,"), [ONE, TWO]),
    made("CR alone a.csv", TABLE.replace("\n", "\r"), [ONE, TWO]),
    made("commas in addresses a.jsonl", LISTS, [f"{n} dress {W}{n}.jpg" for n in (1, 2)]),
    made(
        "addresses between bars a.csv",
        f'id,image_link,product_type\n1,"{SHOP}1.jpg | {W}2.jpg;{SHOP}3.jpg",Dresses\n',
        [ONE, f"1 dress {W}2.jpg", "1 dress 3.jpg"],
    ),
    made("Google Merchant a.tsv", MERCHANT, [ONE, "1 dress 2.jpg", "1 dress 3.jpg"]),
    made("Facebook a.csv", FACEBOOK, [ONE, "1 dress 2.jpg", "1 dress 3.jpg"]),
    made(
        "Shopify's variants a.csv",
        SHOPIFY_VARIANTS,
        ["wrap dress 1.jpg", "wrap dress 2.jpg?v=1", "slip unmapped 3.jpg", "1 missing_url"],
        columns=SHOPIFY,
    ),
    made(
        "WooCommerce's export a.csv",
        WOO_EXPORT,
        ["7 dress 7.jpg", "7 dress w_1,h_2/7-b.jpg", "8 unmapped 8.jpg"],
        columns=WOO,
    ),
    made("a comment before <?xml a.xml", f"<!-- <urlset> -->\n{sitemap(1)}", pages(1)),
    made("a mark and a blank line a.xml", f"\ufeff\n{feed(item(1))}", [ONE]),
    made("PHP's warning before and after a.xml", f"{PHP}{feed(item(1))}{PHP}", [ONE]),
    made("a long comment a.xml", f"<!--{'x' * 10_000}-->{feed(item(1))}", [ONE]),
    made("text after the root a.xml", feed(item(1)) + "\nGenerated in 0.3 s & done", [ONE]),
    made("NULs after the root a.xml", sitemap(1) + "\0" * 512, pages(1)),
    made("two documents a.xml", sitemap(1) + sitemap(2), pages(1, 2)),
    made(
        "two members of gzip a.xml.gz",
        gzip.compress(sitemap(1).encode()) + gzip.compress(sitemap(2).encode()),
        pages(1, 2),
    ),
    made(
        "two members of one table a.csv.gz",
        gzip.compress(TABLE[:50].encode()) + gzip.compress(TABLE[50:].encode()),
        [ONE, TWO],
    ),
    made(
        "text after gzip a.xml.gz", gzip.compress(MANY.encode()) + b"<!-- cached -->\n", pages(*range(3000))
    ),
    made("text after gzip a.csv.gz", gzip.compress(TABLE.encode()) + b"\ncached\n", [ONE, TWO]),
    _kept("cut cut.csv.gz", _cut(LINES), "7 dress 7.jpg"),
    _kept("cut sm_cut.xml.gz", _cut(MANY), pages(7)[0]),
    made("nothing declared a.xml", sitemap(1, names="").replace(PROTOCOL, ""), pages(1)),
    made("g: undeclared a.xml", feed(item(1), root="rss"), [ONE]),
    made("g: undeclared in Atom a.xml", ATOM, [ONE]),
    says(
        "a document type a.xml",
        f"<!DOCTYPE rss SYSTEM 'x.dtd'>{feed(item(1), before='')}".encode(),
        ["StageFailed", "doctype_refused"],
    ),
    says("a document type after a comment a.xml", LATE_DOCTYPE.encode(), ["StageFailed", "doctype_refused"]),
    Case(KIND, "categories as a mapping to names", [ONE, TWO], _table_settings({"dress": ["kleider"]})),
    Case(KIND, "categories as a mapping from names", [ONE, TWO], _table_settings({"Kleider": "dress"})),
    Case(KIND, "categories as a list say what is right", True, _table_settings(["dress"])),
]
