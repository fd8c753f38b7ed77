"""The contracts between stages: one pyarrow schema a dataset, and `conform()`, which holds writers to it.

    >>> import pyarrow as pa
    >>> pairs = pa.table({"reference_id": ["a"], "target_id": ["b"], "category": ["dress"],
    ...                   "similarity": [0.8], "split": ["train"]})
    >>> conform(pairs, PAIRS).schema.field("similarity").type
    DataType(float)

Every row that goes into a stage comes out of it: a failure is a row whose `status` is not "ok" and
whose `error` says why. Unknown or missing columns, wrong types and nulls in required columns are
`ContractError`s that name the dataset and the column.
"""

import pyarrow as pa

from facap.errors import ContractError

OK = "ok"  # the status of a row that went well; any other status is a failure reason
CATEGORIES = ("dress", "jacket", "outfit", "pants", "skirt", "top")  # FACap's six categories
UNMAPPED = "unmapped"  # the category of an item whose own name for it maps to none of these
KNOWN_CATEGORIES = (*CATEGORIES, UNMAPPED, "shirt", "toptee")  # and Fashion IQ's, which imports keep
SPLITS = ("train", "val", "test")


def _field(name: str, kind: pa.DataType, doc: str, required: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={"doc": doc})


def _schema(name: str, version: int, key: str, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(
        fields, metadata={"facap.dataset": name, "facap.version": str(version), "facap.key": key}
    )


_ATTRIBUTES = pa.map_(pa.string(), pa.string())

PAGES = _schema(
    "PAGES",
    1,
    "page",
    [
        _field("page", pa.string(), "address of a product page", True),
        _field("status", pa.string(), "ok, or the reason why it gave no product", True),
        _field("error", pa.string(), "one sentence on what could not be read"),
        _field("lines", pa.string(), "JSON: what the page says, one object a picture"),
        _field("read_at", pa.timestamp("ms", "UTC"), "end of the fetch", True),
    ],
)

ITEMS = _schema(
    "ITEMS",
    2,
    "item_id",
    [
        _field("item_id", pa.string(), "one wanted image: hash of product_id and url", True),
        _field("product_id", pa.string(), "the product that the image shows", True),
        _field("category", pa.string(), "dress, jacket, outfit, pants, skirt, top, or unmapped", True),
        _field("url", pa.string(), "http(s) address of the image", True),
        _field("title", pa.string(), "the retailer's product title"),
        _field("attributes", _ATTRIBUTES, "what the feed says of the product, name -> value"),
        _field("source", pa.string(), "the manifest or feed that the row came from", True),
    ],
)

IMAGES = _schema(
    "IMAGES",
    2,
    "item_id",
    [
        _field("item_id", pa.string(), "the ITEMS row that was fetched", True),
        _field("image_id", pa.string(), "content hash (sha256, 32 hex) of `bytes`; null if failed"),
        _field("product_id", pa.string(), "from ITEMS", True),
        _field("category", pa.string(), "from ITEMS", True),
        _field("url", pa.string(), "the address that was asked for", True),
        _field("status", pa.string(), "ok, or the reason of the failure in snake_case", True),
        _field("error", pa.string(), "one sentence on the failure"),
        _field("bytes", pa.binary(), "the normalised picture: upright sRGB JPEG; null if failed"),
        _field("format", pa.string(), "kind of the original, decided by content: jpeg, png, ..."),
        _field("width", pa.int32(), "of `bytes`, px"),
        _field("height", pa.int32(), "of `bytes`, px"),
        _field("phash", pa.string(), "perceptual hashes of it and of its inner 95 %, 64 hex each"),
        _field("duplicate_of", pa.string(), "item_id of the row that stands for this picture"),
        _field("body_bytes", pa.int32(), "size of what was fetched; null if nothing was"),
        _field("latency_ms", pa.int32(), "of the request that brought it, first byte out to last byte in"),
        _field("etag", pa.string(), "of the response, for revalidation"),
        _field("last_modified", pa.string(), "of the response, for revalidation"),
        _field(
            "fetched_at", pa.timestamp("ms", "UTC"), "when the picture was fetched or last confirmed", True
        ),
    ],
)

CAPTIONS = _schema(
    "CAPTIONS",
    4,
    "image_id",
    [
        _field("image_id", pa.string(), "the kept picture that is described", True),
        _field("item_id", pa.string(), "its row in IMAGES", True),
        _field("product_id", pa.string(), "from IMAGES", True),
        _field("category", pa.string(), "from IMAGES", True),
        _field("caption", pa.string(), "the cleaned caption; null if failed"),
        _field("attributes", _ATTRIBUTES, "attributes read out of the caption, name -> value"),
        _field("confidence", pa.float32(), "probability of its least certain token; null: not asked for"),
        _field("model", pa.string(), "the VLM: name and hash of its weights", True),
        _field("prompt_hash", pa.string(), "hash of the prompt template's text", True),
        _field("rendered_hash", pa.string(), "hash of the prompt rendered for this row; null: none was"),
        _field("params_hash", pa.string(), "hash of all else that shapes an answer: sampling, engine", True),
        _field("raw", pa.string(), "what the model wrote, untouched"),
        _field("prompt_tokens", pa.int32(), "tokens that the model read, the picture's included"),
        _field("written_tokens", pa.int32(), "tokens that it wrote"),
        _field("status", pa.string(), "ok, or the reason of the failure", True),
        _field("error", pa.string(), "one sentence on the failure"),
    ],
)

PAIRS = _schema(
    "PAIRS",
    1,
    "reference_id target_id",
    [
        _field("reference_id", pa.string(), "image_id of the reference", True),
        _field("target_id", pa.string(), "image_id of the target, of another product", True),
        _field("category", pa.string(), "of both", True),
        _field("similarity", pa.float32(), "cosine of the two image embeddings, -1 to 1", True),
        _field("split", pa.string(), "train, val or test; products never straddle splits", True),
    ],
)

TRIPLETS = _schema(
    "TRIPLETS",
    3,
    "reference_id target_id category split place",
    [
        _field("reference_id", pa.string(), "image_id of the reference", True),
        _field(
            "target_id", pa.string(), "image_id of the target; empty where a dataset keeps it secret", True
        ),
        _field("category", pa.string(), "of both", True),
        _field("modification", pa.string(), "the modification text; null if failed"),
        _field(
            "captions",
            pa.list_(pa.string()),
            "what an imported `modification` was joined from; null: it is the only text",
        ),
        _field("split", pa.string(), "from PAIRS", True),
        _field("place", pa.int32(), "in the file that the row was imported from, from 0; null: not imported"),
        _field("quality", pa.float32(), "0 to 1, share of the checks that the text passed"),
        _field("model", pa.string(), "the LLM: name and hash of its weights", True),
        _field("prompt_hash", pa.string(), "hash of the prompt template's text", True),
        _field("rendered_hash", pa.string(), "hash of the prompt rendered for this row; null: none was"),
        _field("params_hash", pa.string(), "hash of all else that shapes an answer: sampling, engine", True),
        _field("raw", pa.string(), "what the model wrote, untouched"),
        _field("prompt_tokens", pa.int32(), "tokens that the model read"),
        _field("written_tokens", pa.int32(), "tokens that it wrote"),
        _field("status", pa.string(), "ok, or the reason of the failure", True),
        _field("error", pa.string(), "one sentence on the failure"),
    ],
)

ANSWERS = _schema(
    "ANSWERS",
    1,
    "image_id attribute",
    [
        _field("image_id", pa.string(), "the picture that the VLM was asked about", True),
        _field("attribute", pa.string(), "what was asked for; `description`: everything", True),
        _field("answer", pa.string(), "the cleaned answer; null if failed"),
        _field("model", pa.string(), "the VLM: name and hash of its weights", True),
        _field("prompt_hash", pa.string(), "hash of the prompt template's text", True),
        _field("params_hash", pa.string(), "hash of the sampling parameters", True),
        _field("raw", pa.string(), "what the model wrote, untouched"),
        _field("prompt_tokens", pa.int32(), "tokens that the model read, the picture's included"),
        _field("written_tokens", pa.int32(), "tokens that it wrote"),
        _field("status", pa.string(), "ok, or the reason of the failure", True),
        _field("error", pa.string(), "one sentence on the failure"),
    ],
)

VERDICTS = _schema(
    "VERDICTS",
    1,
    "reference_id target_id category split place",
    [
        _field("reference_id", pa.string(), "from TRIPLETS", True),
        _field("target_id", pa.string(), "from TRIPLETS", True),
        _field("category", pa.string(), "from TRIPLETS", True),
        _field("split", pa.string(), "from TRIPLETS", True),
        _field("place", pa.int32(), "from TRIPLETS"),
        _field(
            "faithfulness",
            pa.float32(),
            "0 to 1, share of the text's claims that the answers support; null: it claims nothing",
        ),
        _field("claims", pa.int32(), "claims that were checked"),
        _field("failed", pa.int32(), "claims that the answers do not support"),
        _field("unsupported", pa.list_(pa.string()), "those claims, each with what was answered"),
        _field("unspoken", pa.list_(pa.string()), "what differs by the answers and is not in the text"),
        _field("rank", pa.int32(), "of the target for the trained model, from 1; null: not ranked"),
        _field("gallery_size", pa.int32(), "candidates ranked: the category without the reference"),
        _field("ranked_by", pa.string(), "the model that ranked, by its weights"),
        _field("model", pa.string(), "the VLM that answered: name and hash of its weights", True),
        _field("prompt_hash", pa.string(), "hash of the prompt template's text", True),
        _field("params_hash", pa.string(), "hash of the sampling parameters", True),
        _field("status", pa.string(), "ok, or the reason of the failure", True),
        _field("error", pa.string(), "one sentence on the failure"),
    ],
)

GALLERIES = _schema(
    "GALLERIES",
    1,
    "category split place",
    [
        _field("category", pa.string(), "of the gallery", True),
        _field("split", pa.string(), "train, val or test", True),
        _field("place", pa.int32(), "in the dataset's list, from 0", True),
        _field("name", pa.string(), "what the dataset calls the image", True),
        _field("image_id", pa.string(), "what IMAGES and TRIPLETS call it", True),
    ],
)

EMBEDDINGS = _schema(
    "EMBEDDINGS",
    2,
    "image_id",
    [
        _field("image_id", pa.string(), "the embedded picture", True),
        _field("item_id", pa.string(), "its row in IMAGES", True),
        _field("product_id", pa.string(), "from IMAGES", True),
        _field("category", pa.string(), "from IMAGES", True),
        _field("vector", pa.list_(pa.float32()), "unit length; FashionBLIP-2: n_t*d_c numbers", True),
        _field("model_version", pa.string(), "the model that embedded it, by its weights", True),
    ],
)

METRICS = _schema(
    "METRICS",
    2,
    "model_version benchmark protocol category metric",
    [
        _field("model_version", pa.string(), "what was scored: a model's hash, or a baseline", True),
        _field("benchmark", pa.string(), "the data it was scored on", True),
        _field("protocol", pa.string(), "how gallery and queries were formed", True),
        _field("category", pa.string(), "a category, or 'all'", True),
        _field("metric", pa.string(), "recall@k, recall_product@k, map, map_product or median_rank", True),
        _field("value", pa.float64(), "recalls and precisions as shares 0 to 1; ranks from 1", True),
        _field("ci_low", pa.float64(), "interval (evaluate.confidence, 95 % by default), lower end"),
        _field("ci_high", pa.float64(), "interval, upper end"),
        _field("num_queries", pa.int64(), "queries scored", True),
        _field("gallery_size", pa.int64(), "candidates ranked", True),
        _field(
            "coverage",
            pa.float64(),
            "share of the gallery's pictures that are there; below 1 a figure compares with none published",
            True,
        ),
    ],
)

RANKS = _schema(
    "RANKS",
    1,
    "model_version benchmark protocol category query",
    [
        _field("model_version", pa.string(), "what was asked: a model's hash, or a baseline", True),
        _field("benchmark", pa.string(), "the data it was asked about", True),
        _field("protocol", pa.string(), "how gallery and queries were formed", True),
        _field("category", pa.string(), "of the query", True),
        _field("query", pa.string(), "hash of reference, target, text and place", True),
        _field("reference_id", pa.string(), "image_id of the query's picture", True),
        _field("target_id", pa.string(), "image_id that it asks for", True),
        _field("rank", pa.int32(), "of the target in the gallery, from 1", True),
    ],
)

SCHEMAS = {
    s.metadata[b"facap.dataset"].decode().lower(): s
    for s in (
        PAGES,
        ITEMS,
        IMAGES,
        CAPTIONS,
        PAIRS,
        TRIPLETS,
        ANSWERS,
        VERDICTS,
        GALLERIES,
        EMBEDDINGS,
        METRICS,
        RANKS,
    )
}


def dataset_name(schema: pa.Schema) -> str:
    """The dataset a schema describes, in capitals, e.g. "TRIPLETS"."""
    return str(schema.metadata[b"facap.dataset"].decode())


def schema_version(schema: pa.Schema) -> int:
    """The version number of a schema; a reader refuses any other."""
    return int(schema.metadata[b"facap.version"])


def key_columns(schema: pa.Schema) -> list[str]:
    """The columns that together name a row; no two rows of a finished dataset agree in them."""
    return str(schema.metadata[b"facap.key"].decode()).split()


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns, order and types of `schema`.

    A missing nullable column is filled with nulls. Raises ContractError for unknown columns,
    missing required ones, values that cannot be cast, and nulls where none are allowed.
    """
    name = dataset_name(schema)
    unknown = sorted(set(table.column_names) - set(schema.names))
    if unknown:
        raise ContractError(f"{name}: unknown column '{unknown[0]}'; known: {', '.join(schema.names)}")
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(_cast(table.column(field.name), field, name))
        elif field.nullable:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
        else:
            raise ContractError(f"{name}: required column '{field.name}' is missing")
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field, name: str) -> pa.ChunkedArray:
    if column.null_count and not field.nullable:
        raise ContractError(f"{name}: column '{field.name}' has {column.null_count} nulls, none are allowed")
    if column.type.equals(field.type):
        return column
    try:
        if pa.types.is_map(field.type):  # Ray hands maps back as lists of (key, value) structs
            pairs = [None if v is None else _map_items(v) for v in column.to_pylist()]
            return pa.chunked_array([pa.array(pairs, type=field.type)])
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise ContractError(
            f"{name}: column '{field.name}' should be {field.type}, is {column.type}: {error}"
        ) from error


def _map_items(value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [(str(k), str(v)) for k, v in value.items() if v is not None]
    assert isinstance(value, list), value
    return [(v["key"], v["value"]) if isinstance(v, dict) else (v[0], v[1]) for v in value]


def from_rows(rows: list[dict], schema: pa.Schema) -> pa.Table:
    """Rows (dicts) as a conforming table; unknown keys are errors, missing nullable ones are null."""
    unknown = sorted({key for row in rows for key in row} - set(schema.names))
    if unknown:
        raise ContractError(f"{dataset_name(schema)}: unknown column '{unknown[0]}'")
    arrays = {}
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_map(field.type):
            values = [None if v is None else _map_items(v) for v in values]
        try:
            arrays[field.name] = pa.array(values, type=field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ContractError(f"{dataset_name(schema)}: column '{field.name}': {error}") from error
    return conform(pa.table(arrays), schema)
