"""schema.org Product in JSON-LD, as shops write it and as nobody should."""

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facap.catalog.items import Items
from facap.catalog.lines import Line, Unreadable
from facap.catalog.product_pages import MAX_JSON_LD, MAX_PAGE_BYTES, page_lines

HERE = "https://a.example/women/p/7"


def page(*blocks: Any, before: str = "") -> bytes:
    scripts = "".join(
        f'<script type="application/ld+json">{b if isinstance(b, str) else json.dumps(b)}</script>'
        for b in blocks
    )
    return f"<!doctype html><html><head>{before}{scripts}</head><body><p>x</body></html>".encode(
        errors="surrogatepass"
    )


def good(lines: list[Line]) -> list[dict[str, Any]]:
    return [line for line in lines if isinstance(line, dict)]


def reasons(lines: list[Line]) -> list[str]:
    return [line.reason for line in lines if isinstance(line, Unreadable)]


PRODUCT = {"@context": "https://schema.org/", "@type": "Product", "sku": "7", "image": "/7.jpg"}


def test_a_plain_product() -> None:
    product = {
        **PRODUCT,
        "name": "Wrap dress",
        "category": "Apparel & Accessories > Clothing > Dresses",
        "image": ["https://a.example/7.jpg", "/7b.jpg"],
        "brand": {"@type": "Brand", "name": "A"},
        "color": "red",
        "offers": {"@type": "Offer", "price": 25, "url": HERE},
    }
    lines = good(page_lines(page(product), HERE))
    assert [line["url"] for line in lines] == ["https://a.example/7.jpg", "https://a.example/7b.jpg"]
    assert {key: value for key, value in lines[0].items() if key != "url"} == {
        "product_id": "7",
        "title": "Wrap dress",
        "category": "Apparel & Accessories > Clothing > Dresses",
        "color": "red",
        "brand": "A",
        "page": HERE,
    }


def test_a_graph_with_references_as_shop_plugins_write_it() -> None:
    graph = {
        "@context": "http://schema.org",
        "@graph": [
            {"@type": "WebPage", "@id": f"{HERE}#page", "primaryImageOfPage": {"@id": f"{HERE}#img"}},
            {"@type": "ImageObject", "@id": f"{HERE}#img", "contentUrl": "https://a.example/7.jpg"},
            {
                "@type": ["Product", "Thing"],
                "@id": f"{HERE}#product",
                "name": "Silk top",
                "image": {"@id": f"{HERE}#img"},
            },
            {
                "@type": "BreadcrumbList",
                "itemListElement": [
                    {"@type": "ListItem", "position": 3, "name": "Silk top"},
                    {"@type": "ListItem", "position": 1, "name": "Women"},
                    {"@type": "ListItem", "position": 2, "item": {"@id": f"{HERE}/tops", "name": "Tops"}},
                ],
            },
        ],
    }
    (line,) = good(page_lines(page(graph), HERE))
    assert (line["url"], line["category"]) == ("https://a.example/7.jpg", "Women > Tops")
    assert line["product_id"] == f"{HERE}#product"
    assert Items("x").table([line]).column("category").to_pylist() == ["top"]


def test_the_variants_of_a_group_are_one_product() -> None:
    group = {
        "@context": {"s": "https://schema.org/"},
        "@type": "s:ProductGroup",
        "s:productGroupID": "G",
        "s:name": "Jeans",
        "s:category": "Jeans",
        "s:hasVariant": [
            {"@type": "s:Product", "s:sku": f"G-{n}", "s:color": color, "s:image": {"@list": [f"/{n}.jpg"]}}
            for n, color in enumerate(["blue", "black"])
        ],
    }
    alone = {
        **PRODUCT,
        "sku": "G-9",
        "isVariantOf": {"@type": "ProductGroup", "productGroupID": "G", "name": "Jeans"},
    }
    lines = good(page_lines(page(group, alone), HERE))
    assert {line["product_id"] for line in lines} == {"G"} and {line["title"] for line in lines} == {"Jeans"}
    assert sorted(line["url"].rpartition("/")[2] for line in lines) == ["0.jpg", "1.jpg", "7.jpg"]
    assert sorted(line.get("color", "") for line in lines) == ["", "black", "blue"]


def test_other_products_that_a_page_praises_are_left_to_their_own_pages() -> None:
    other = {"@type": "Product", "sku": "8", "image": "/8.jpg"}
    lines = good(page_lines(page({**PRODUCT, "isRelatedTo": [other]}), HERE))
    assert [line["product_id"] for line in lines] == ["7"]


def test_a_product_without_an_id_is_named_by_its_page_if_it_is_alone_there() -> None:
    nameless = {"@context": "https://schema.org", "@type": "Product", "image": "/1.jpg"}
    assert good(page_lines(page(nameless), HERE))[0]["product_id"] == HERE
    lines = page_lines(page(nameless, {**nameless, "image": "/2.jpg"}), HERE)
    items = Items("x")
    assert items.table(lines).num_rows == 0 and items.failures == {"missing_product_id": 2}


@pytest.mark.parametrize(
    "block",
    [
        f"<!-- {json.dumps(PRODUCT)} -->",
        f"//<![CDATA[\n{json.dumps(PRODUCT)}\n//]]>",
        json.dumps({**PRODUCT, "name": "tab"}).replace("tab", "t\tab\n"),
        json.dumps([PRODUCT]),
        json.dumps({"@type": "Product", "sku": "7", "image": "/7.jpg"}),
        json.dumps({**PRODUCT, "@context": ["https://schema.org", "http://169.254.169.254/context"]}),
        json.dumps({**PRODUCT, "image": {"@type": "ImageObject", "url": "/7.jpg"}}),
    ],
)
def test_what_shops_do_to_json_ld(block: str) -> None:
    (line,) = page_lines(page(block), HERE)
    assert isinstance(line, dict) and (line["product_id"], line["url"]) == ("7", "https://a.example/7.jpg")


def test_no_context_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: asked.append(args))
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    block = {
        **PRODUCT,
        "@context": ["https://schema.org", "https://evil.example/c", {"@import": "http://10.0.0.1/"}],
    }
    page_lines(page(block), HERE)
    assert asked == []


def test_one_broken_block_costs_itself_only() -> None:
    lines = page_lines(page("{broken", PRODUCT, {"@context": 5, "@type": "Product"}), HERE)
    assert len(good(lines)) == 1 and reasons(lines) == ["malformed_json_ld"] * 2


def test_pages_without_products_or_pictures_say_so() -> None:
    assert reasons(page_lines(page({"@context": "https://schema.org", "@type": "WebSite"}), HERE)) == [
        "no_product"
    ]
    assert reasons(page_lines(page({**PRODUCT, "image": []}), HERE)) == ["no_image"]
    for empty in (b"", b"   ", b"\0", b"<!-- -->", b"plain text"):
        assert reasons(page_lines(empty, HERE)) == ["no_product"]


def test_relative_pictures_of_a_saved_page_are_found_by_its_canonical_address() -> None:
    link = f'<link rel="canonical" href="{HERE}">'
    assert good(page_lines(page(PRODUCT, before=link)))[0]["url"] == "https://a.example/7.jpg"


def test_text_without_a_charset_is_utf_8() -> None:
    (line,) = good(page_lines(page(json.dumps({**PRODUCT, "name": "Größe 漢"}, ensure_ascii=False)), HERE))
    assert line["title"] == "Größe 漢"


@pytest.fixture(scope="module")
def most_cpu_s() -> float:
    """Five times what this machine needs now for an honest page as large as may be."""
    garments = [
        {**PRODUCT, "sku": str(n), "name": "Wrap dress", "image": [f"/{n}.jpg", f"/{n}b.jpg"]}
        for n in range(7500)
    ]
    body = page(garments)
    assert 0.9 * MAX_JSON_LD < len(body) < MAX_JSON_LD
    started = time.thread_time()
    assert len(good(page_lines(body, HERE))) == 2 * len(garments)
    return 5 * (time.thread_time() - started)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x" * (MAX_PAGE_BYTES + 1), "page_too_large"),
        (page("[" * 100_000), "malformed_json_ld"),
        (page('{"a":' * 300_000), "malformed_json_ld"),
        (page(json.dumps(PRODUCT | {"name": "a" * MAX_JSON_LD})), "malformed_json_ld"),
        (page(*["[" + "{}," * 100_000 + "{}]"] * 20), "malformed_json_ld"),
        (b"<div>" * 1_000_000, "no_product"),
        (page('{"b": ' + '{"a":' * 400 + "1" + "}" * 401), "malformed_json_ld"),
    ],
)
def test_hostile_pages_cost_little(body: bytes, reason: str, most_cpu_s: float) -> None:
    started = time.thread_time()
    assert reason in reasons(page_lines(body, HERE))
    assert time.thread_time() - started < most_cpu_s


@pytest.mark.parametrize(
    "block",
    [
        {**PRODUCT, "image": [f"/{n}.jpg" for n in range(40_000)], "name": ["n"] * 40_000},
        {"@context": "https://schema.org", "@graph": [{"@id": "#a", "name": str(n)} for n in range(25_000)]},
        {"@context": [{f"t{n}": f"http://x/{n}"} for n in range(30_000)], "@type": "Product"},
        {
            "@context": {f"t{n}": f"http://x/{n}" for n in range(9000)},
            "@graph": [{"@context": {"a": "x:"}}] * 9000,
        },
        {**PRODUCT, "name": [{}] * 60_000, "hasVariant": [{"@type": "Product"}] * 20_000},
    ],
)
def test_work_grows_with_the_size_of_a_page_only(block: dict, most_cpu_s: float) -> None:
    started = time.thread_time()
    assert page_lines(page(block), HERE)
    assert time.thread_time() - started < most_cpu_s


_NAMES = st.sampled_from(
    ["@context", "@type", "@id", "@graph", "@list", "@set", "@value", "@language", "@reverse", "@vocab",
     "name", "image", "sku", "hasVariant", "isVariantOf", "itemListElement", "position", "category", "url",
     "contentUrl"]
)  # fmt: skip
_ATOMS = st.sampled_from(
    ["Product", "ProductGroup", "ImageObject", "BreadcrumbList", "https://schema.org", "_:b0", "/7.jpg", "http://[x",
     "#a", "", "\ud800"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | _ATOMS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=25,
)


@given(_JSON)
@settings(deadline=None, max_examples=150)
def test_any_json_gives_lines_or_reasons(value: Any) -> None:
    block = {**value, **PRODUCT} if isinstance(value, dict) else value
    for body in (page(value), page(block)):
        lines = page_lines(body, HERE)
        assert lines
        Items("x").table(lines)


@given(st.binary(max_size=2000))
@settings(deadline=None)
def test_any_bytes_give_lines_or_reasons(body: bytes) -> None:
    assert page_lines(body, HERE) and page_lines(b'<script type="application/ld+json">' + body)
