"""JSON-LD as shops write it, each time the same product."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facap.catalog.lines import Unreadable
from facap.catalog.product_pages import page_lines
from tests.outside.case import GIVEN, Case

PICTURE = "https://a.example/7.jpg"
PRODUCT = {
    "@context": "https://schema.org",
    "@type": "Product",
    "sku": "7",
    "name": "Wrap dress",
    "image": [PICTURE],
}
PLAIN = json.dumps(PRODUCT, indent=1)
OTHER = json.dumps({"@context": "https://schema.org", "@type": "WebSite", "name": "A"})
FOUND = [("7", PICTURE)]
BROKEN = "malformed_json_ld"


def read(body: bytes) -> list[Any]:
    """(id, picture) of each line, and the reasons of what cannot be read."""
    lines = page_lines(body, "https://a.example/p/7")
    return [
        line.reason if isinstance(line, Unreadable) else (line["product_id"], line["url"]) for line in lines
    ]


def given(name: str) -> Callable[[Path], list[Any]]:
    return lambda folder: read((GIVEN / "json_ld" / name).read_bytes())


def made(*blocks: str) -> Callable[[Path], list[Any]]:
    scripts = "".join(f'<script type="application/ld+json">{block}</script>' for block in blocks)
    return lambda folder: read(f"<!doctype html><html><head>{scripts}</head><body>x</body></html>".encode())


def product(**changes: Any) -> str:
    return json.dumps({**PRODUCT, **changes})


_GIVEN = ("ld_bom", "ld_cdata_escaped", "ld_js_comment", "ld_semicolon", "ld_trailing_comma")
_MADE: list[tuple[str, list[str], list[Any]]] = [
    ("line comments", [PLAIN.replace('"sku"', '// the "id"\n"sku"') + " // end"], FOUND),
    ("comment in a list", [PLAIN.replace("]", "/* , more ] */ ]")], FOUND),
    ("HTML comment around it", [f"<!--\n{PLAIN}\n//-->"], FOUND),
    ("HTML comment before it", [f"<!-- by {{plugin}} -->{PLAIN}"], FOUND),
    ("old block in an HTML comment", [f"<!-- {product(sku='6')} -->{PLAIN}"], FOUND),
    ("CDATA in comments", [f"/*<![CDATA[*/{PLAIN}/*]]>*/"], FOUND),
    ("CDATA on one line", [f"// <![CDATA[ {product()} // ]]>"], FOUND),
    ("CDATA in an HTML comment", [f"<!--//--><![CDATA[//><!--\n{PLAIN}\n//--><!]]>"], FOUND),
    ("CDATA escaped", [f"&lt;![CDATA[{html.escape(PLAIN)}]]&gt;"], FOUND),
    ("escaped for HTML", [html.escape(PLAIN)], FOUND),
    ("escaped by numbers", [PLAIN.replace('"', "&#34;")], FOUND),
    ("escaped values", [product(image="https://a.example/7.jpg?a=1&amp;b&#038;copy=2")],
     [("7", "https://a.example/7.jpg?a=1&b&copy=2")]),
    ("commas and semicolons", [PLAIN.replace("]", ",]").replace("\n}", ",\n}") + ";;"], FOUND),
    ("two objects in a row", [OTHER + "\n" + PLAIN], FOUND),
    ("two objects with a comma", [f"{PLAIN},\n{OTHER},"], FOUND),
    ("a list and an object", [f"[{OTHER}];{PLAIN};"], FOUND),
    ("line break in a string", [product(name="Wrap dress").replace("p d", "p\r\n\td")], FOUND),
    ("control characters in a string", [product().replace("p d", "p\x01\x1fd")], FOUND),
    ("escapes of JavaScript", [product().replace("p d", r"p\'s \x64 \u2019 \&")], FOUND),
    ("mark in the middle", ["\n\ufeff" + PLAIN + "\ufeff\u200b"], FOUND),
    ("marks in strings", [product(name="// <!-- /* ]]> -->, ]; } \\ \"", image=[PICTURE]) + ";"], FOUND),
    ("graph", [json.dumps({"@context": "https://schema.org", "@graph": [PRODUCT]}) + ";"], FOUND),
    ("picture as object", [product(image={"@type": "ImageObject", "url": PICTURE}) + ","], FOUND),
    ("picture as text", [product(image=PICTURE)], FOUND),
    ("pictures as objects", [product(image=[{"@type": "ImageObject", "contentUrl": PICTURE}])], FOUND),
    ("signed picture", [product(image="https://a.example/v/../7.jpg?s=%2f%2B&x=?")],
     [("7", "https://a.example/v/../7.jpg?s=%2f%2B&x=?")]),
    ("named again by a review", [product(**{"@id": "#p"}),
     json.dumps({"@context": "https://schema.org", "@type": "Review", "about": {"@id": "#p"}})], FOUND),
    ("a broken block before", ['{"@type": "Product", ', PLAIN], [*FOUND, BROKEN]),
    ("a broken block after", [PLAIN, '{"a" "b"}'], [*FOUND, BROKEN]),
    ("a huge block before", [product(description="x" * 2_000_000), PLAIN], [*FOUND, BROKEN]),
    ("a broken value in the same script", ['{"a" "b"}' + PLAIN], [*FOUND, BROKEN]),
    ("a brace too many", [PLAIN + "}"], [*FOUND, BROKEN]),
    ("a brace too few", [PLAIN[:-1]], [BROKEN]),
    ("brackets that do not match", ['{"a": [1}' + PLAIN], [BROKEN]),
]  # fmt: skip

CASES = [
    *(Case("JSON-LD", name, FOUND, given(f"{name}.html"), "json_ld") for name in _GIVEN),
    *(Case("JSON-LD", name, expected, made(*blocks)) for name, blocks, expected in _MADE),
]
