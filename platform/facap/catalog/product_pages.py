"""Product pages: schema.org Product and ProductGroup in JSON-LD -> one line a picture.

    >>> page = b'''<script type="application/ld+json">{"@context": "https://schema.org", "@type": "Product",
    ...   "sku": "7", "name": "Wrap dress", "category": "Dresses", "image": "/7.jpg"}</script>'''
    >>> page_lines(page, "https://a.example/p/7")[0]["url"]
    'https://a.example/7.jpg'

JSON-LD is read by its rules (PyLD), so references within a page, graphs, prefixes and lists of types all
work. No context is ever fetched: schema.org's is replaced by its vocabulary, others count as empty. What
shops do to JSON is put right first (`loose_json`). A block that is malformed costs itself only.
"""

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

from lxml import etree
from pyld import jsonld

from facap.catalog import loose_json
from facap.catalog.lines import Line, Unreadable

MAX_PAGE_BYTES = 8 << 20  # large shops' pages take 1 to 3 MB
MAX_JSON_LD = 1 << 20  # characters a page; a group of 500 variants takes 100,000
MAX_CONTEXTS = 100  # in a list; PyLD copies all terms so far for each, and 16,000 took it nine seconds
MAX_VALUES = 10  # of a property that are asked for a text
SCHEMA = "schema.org/"
_VOCABULARY = {"@vocab": f"https://{SCHEMA}"}
_PRODUCTS = {"Product", "ProductGroup", "ProductModel", "IndividualProduct", "SomeProducts"}
_OTHERS = ("isRelatedTo", "isSimilarTo", "isAccessoryOrSparePartFor", "isConsumableFor")
_IDS = ("sku", "productID", "mpn", "gtin", "gtin13", "gtin14", "gtin12", "gtin8", "url")
_SAID = ("color", "material", "pattern", "brand", "description")
# What PyLD raises on input that is JSON but no JSON-LD, beside its own error.
_NOT_JSON_LD = (
    jsonld.JsonLdError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    RecursionError,
)

Node = dict[str, Any]


def page_lines(body: bytes, address: str = "") -> list[Line]:
    """One line a picture of each product that a page describes; Unreadables if there is none.

    `address`: of the page, for relative addresses and products without an id. Reasons: page_too_large,
    malformed_json_ld, no_product, no_image.
    """
    if len(body) > MAX_PAGE_BYTES:
        return [Unreadable("page_too_large", f"{address}: {len(body)} bytes, more than {MAX_PAGE_BYTES}")]
    tree = _parsed(body)
    base = address or _canonical(tree)
    nodes: dict[str, Node] = {}
    broken: list[Line] = []
    left = MAX_JSON_LD
    for number, text in enumerate(_blocks(tree)):
        if len(text) > left:  # a block after it may be smaller
            wrong = f"more than {MAX_JSON_LD} characters of it"
        else:
            left -= len(text)
            wrong = _add_block(text, nodes, base, number)
        if wrong:
            broken.append(Unreadable("malformed_json_ld", f"{base}: {' '.join(wrong.split())[:100]}"))
    lines = list(_Page(nodes, base).lines())
    if lines or broken:
        return [*lines, *broken]
    described = any(_types(node) & _PRODUCTS for node in nodes.values())
    return [Unreadable("no_image" if described else "no_product", base[:200])]


def _parsed(body: bytes) -> Any:
    try:
        body.decode()
        encoding = "utf-8"  # libxml2 takes pages that do not say so for Latin-1
    except UnicodeDecodeError:
        encoding = None
    parser = etree.HTMLParser(encoding=encoding, no_network=True, huge_tree=False, remove_comments=True)
    try:
        return etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):  # nothing in it
        return None


def _canonical(tree: Any) -> str:
    for link in tree.iter("link") if tree is not None else ():
        if (link.get("rel") or "").lower() == "canonical":
            return str(link.get("href") or "")
    return ""


def _blocks(tree: Any) -> Iterator[str]:
    for script in tree.iter("script") if tree is not None else ():
        kind = (script.get("type") or "").partition(";")[0].strip().lower()
        if kind == "application/ld+json" and script.text and script.text.strip():
            yield script.text


def _context(address: str, options: Any = None) -> dict[str, Any]:
    """In the place of a download: PyLD asks for every context that is given by address."""
    known = SCHEMA in f"{address}/"
    return {
        "contentType": "application/ld+json",
        "contextUrl": None,
        "documentUrl": address,
        "document": {"@context": _VOCABULARY if known else {}},
    }


def _add_block(text: str, nodes: dict[str, Node], base: str, number: int) -> str:
    """Adds the nodes of one block by their id, blank ones told apart; returns what is wrong, or ""."""
    options = {"base": base, "documentLoader": _context, "expandContext": {"@context": _VOCABULARY}}
    values, wrong = loose_json.read(text)
    for place, value in enumerate(values):
        try:
            _flatten(jsonld.expand(_of_few_contexts(value), options), nodes, f"_:{number}.{place}")
        except _NOT_JSON_LD as error:
            wrong = wrong or str(error) or "no JSON-LD"
    return wrong


def _of_few_contexts(value: Any) -> Any:
    """`value`; ValueError if a list of contexts in it is too long."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            contexts = one.get("@context")
            if isinstance(contexts, list) and len(contexts) > MAX_CONTEXTS:
                raise ValueError(f"a list of {len(contexts)} contexts, more than {MAX_CONTEXTS}")
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return value


def _flatten(value: Any, nodes: dict[str, Node], blank: str) -> Any:
    """`value` with a reference in the place of each node, which is put into `nodes`.

    PyLD's own flatten compares each value with all before it: 20,000 pictures took it two minutes.
    """
    if isinstance(value, list):
        return [_flatten(inner, nodes, blank) for inner in value]
    if not isinstance(value, dict) or "@value" in value:
        return value
    if "@list" in value:
        return {"@list": _flatten(value["@list"], nodes, blank)}
    name = str(value.get("@id") or f"_:#{len(nodes)}")  # no label of a document's own has a #
    name = f"{blank}.{name[2:]}" if name.startswith("_:") else name
    node = nodes.setdefault(name, {"@id": name})
    for key, inner in value.items():
        found = _flatten(inner, nodes, blank)
        if isinstance(found, list):
            node.setdefault(key, []).extend(found)
    return {"@id": name}


def _types(node: Node) -> set[str]:
    return {str(kind).rpartition(SCHEMA)[2] for kind in node.get("@type", [])}


class _Page:
    """The nodes of a page and what they say of its products."""

    def __init__(self, nodes: dict[str, Node], base: str) -> None:
        self.nodes, self.base = nodes, base
        others = {name for node in nodes.values() for kind in _OTHERS for name in self._ids(node, kind)}
        self.products = [n for n in nodes.values() if _types(n) & _PRODUCTS and n["@id"] not in others]
        self.groups = {
            variant: node for node in self.products for variant in self._ids(node, "hasVariant")
        }  # fmt: skip
        self.trail = self._breadcrumb()

    def lines(self) -> Iterator[Line]:
        """One line a product and picture."""
        for product in self.products:
            group = self._group(product)
            said = {name: self._text(product, name) or self._text(group, name) for name in _SAID}
            line = {
                "product_id": self._product_id(product, group),
                "title": self._text(product, "name") or self._text(group, "name"),
                "category": self._text(product, "category") or self._text(group, "category") or self.trail,
                **{name: text for name, text in said.items() if text},
                **({"page": self.base} if self.base else {}),
            }
            for url in self._images(product):
                yield {**line, "url": url}

    def _group(self, product: Node) -> Node:
        for name in self._ids(product, "isVariantOf"):
            if name in self.nodes:
                return self.nodes[name]
        return self.groups.get(product["@id"], {})

    def _product_id(self, product: Node, group: Node) -> str:
        found = self._text(product, "inProductGroupWithID") or self._text(group, "productGroupID")
        found = found or self._text(product, "productGroupID")
        for name in _IDS:
            found = found or self._text(product, name)
        if not found and not product["@id"].startswith("_:"):
            return str(product["@id"])
        return found or (self.base if len(self.products) == 1 else "")

    def _values(self, node: Node, name: str) -> Iterator[Node]:
        for scheme in ("https://", "http://"):
            for value in node.get(f"{scheme}{SCHEMA}{name}", []):
                inner = value.get("@list") if isinstance(value, dict) else None
                for each in inner if isinstance(inner, list) else [value]:
                    if isinstance(each, dict):
                        yield each

    def _ids(self, node: Node, name: str) -> list[str]:
        return [value["@id"] for value in self._values(node, name) if isinstance(value.get("@id"), str)]

    def _text(self, node: Node, name: str) -> str:
        """The first value as text: a literal, the name of what it refers to, or the reference."""
        for value in itertools.islice(self._values(node, name), MAX_VALUES):
            if "@value" in value:
                return _plain(value["@value"])
            there = self.nodes.get(str(value.get("@id")), {})
            for said in itertools.islice(self._values(there, "name"), MAX_VALUES):
                if "@value" in said:
                    return _plain(said["@value"])
            if str(value.get("@id", "_:")).startswith(("http://", "https://")):
                return str(value["@id"])
        return ""

    def _images(self, product: Node) -> list[str]:
        found: dict[str, None] = {}
        for value in self._values(product, "image"):
            picture = self.nodes.get(str(value.get("@id")), {})
            address = self._text(picture, "contentUrl") or self._text(picture, "url")
            address = address or _plain(value.get("@value") or value.get("@id") or "")
            if address and not address.startswith("_:"):
                found[_joined(self.base, address)] = None
        return list(found)

    def _breadcrumb(self) -> str:
        """The names of the page's trail without the last, which is the product's own."""
        for node in self.nodes.values():
            if "BreadcrumbList" in _types(node):
                steps = [self.nodes.get(name, {}) for name in self._ids(node, "itemListElement")]
                steps.sort(key=lambda step: _number(self._text(step, "position")))
                names = [self._text(step, "name") or self._text(step, "item") for step in steps]
                return " > ".join(name for name in names[:-1] if name)
        return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _plain(value: Any) -> str:
    """A value as text; shops escape what they write into a page once more than JSON-LD asks for."""
    return loose_json.unescaped(str(value)).strip()


def _joined(base: str, address: str) -> str:
    if address.lower().startswith(("http://", "https://")):
        return address  # as it was written, which urljoin() does not promise
    try:
        return urljoin(base, address)
    except ValueError:
        return address
