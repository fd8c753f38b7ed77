"""Another model's embeddings or rankings, from files, scored by the same code as our own models.

    gallery.parquet            category, image, vector       image: the name in the dataset's list
    queries.parquet            category, place, vector       place: in cap.<category>.<split>.json, from 0
or
    rankings.<category>.json   [{"candidate": "B005X4PL1G", "ranking": ["B0084Y8XIU", ...]}, ...]

Rankings are in the order of the dataset's file, one for each of its records, best picture first; `captions`
may stand beside them. Vectors are compared by inner product, or by the best one where a candidate has k times
a query's numbers. Names that no list of the dataset has are an error, since passing over them would score a
ranking that the model did not make. Files are untrusted: bounded, nothing is unpickled, every fault is a
sentence.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facap import reports
from facap.errors import ConfigError, FormatError
from facap.evaluate.config import EvaluateConfig, SubmissionConfig
from facap.evaluate.protocol import Answer, Query, Vectors, by_rankings, by_vectors, evaluate
from facap.evaluate.questions import read_questions
from facap.schemas import METRICS, from_rows
from facap.store import Store

GALLERY, QUERIES = "gallery.parquet", "queries.parquet"
EXAMPLES = 3  # of unknown names, in a message
Key = tuple[str, str]  # category, name


@dataclass(frozen=True)
class Lists:
    """The dataset's lists of images: what those of the split are called, and what the others are."""

    image_ids: dict[Key, str]  # of the split that is scored
    known: set[Key]  # of every split; these are passed over


def read_lists(store: Store, split: str) -> Lists:
    """The lists of GALLERIES."""
    rows = store.read("galleries", ["category", "name", "image_id", "split"]).to_pylist()
    mine = {(row["category"], row["name"]): row["image_id"] for row in rows if row["split"] == split}
    return Lists(mine, {(row["category"], row["name"]) for row in rows})


def score(store: Store, config: SubmissionConfig, how: EvaluateConfig) -> pa.Table:
    """METRICS of the submission, kept as reports/submission-<name>.json.

    Raises ConfigError without a folder, FormatError for a file that is not as it should be.
    """
    folder = Path(config.folder)
    if not config.folder or not folder.is_dir():
        raise ConfigError(
            f"submission.folder should be a folder with the model's results, is '{config.folder}'"
        )
    questions = read_questions(store, how)
    lists = read_lists(store, how.split or "val")
    most = config.max_file_mib << 20
    answer: Answer
    if (folder / QUERIES).exists():
        answer = by_vectors(questions.queries, read_vectors(folder, questions.queries, lists, most))
    else:
        answer = by_rankings(questions.queries, read_rankings(folder, questions.queries, lists, most))
    answers = [answer(task) for task in questions.tasks]
    found = evaluate(
        f"submission/{config.name}", questions.tasks, answers, how.bootstrap_samples, how.confidence, how.seed
    )
    page = {"notes": questions.notes, "metrics": found}
    reports.write_text(
        store.path("reports", f"submission-{config.name}.json"), json.dumps(page, indent=1) + "\n"
    )
    return from_rows(found, METRICS)


def read_vectors(folder: Path, queries: Sequence[Query], lists: Lists, max_bytes: int) -> Vectors:
    """The vectors of gallery.parquet and queries.parquet. Raises FormatError."""
    gallery = _table(folder / GALLERY, {"category", "image", "vector"}, max_bytes)
    asked = _table(folder / QUERIES, {"category", "place", "vector"}, max_bytes)
    of_image: dict[str, np.ndarray] = {}
    keys = list(zip(gallery["category"].to_pylist(), gallery["image"].to_pylist(), strict=True))
    for key, vector in zip(keys, _vectors(gallery, GALLERY), strict=True):
        if key in lists.image_ids:  # pictures of other splits do no harm
            of_image[lists.image_ids[key]] = vector
    asked_for = {query.category for query in queries}
    listed = [key for key in lists.image_ids if key[0] in asked_for]
    bare = sum(lists.image_ids[key] not in of_image for key in listed)
    if bare:
        unknown = [
            f"{category} {name}"
            for category, name in dict.fromkeys(keys)
            if (category, name) not in lists.known
        ]
        _check_known(
            GALLERY, unknown, len(keys), f"{bare} of the {len(listed)} listed have no vector", listed
        )
    places = zip(asked["category"].to_pylist(), asked["place"].to_pylist(), strict=True)
    of_query = dict(zip(places, _vectors(asked, QUERIES), strict=True))
    lost = [query for query in queries if (query.category, query.place) not in of_query]
    if lost:
        raise FormatError(
            f"{QUERIES}: {len(lost)} of {len(queries)} queries have no vector, e.g. place {lost[0].place} of "
            f"{lost[0].category}"
        )
    queries_QD = np.stack([of_query[query.category, query.place] for query in queries])
    sizes = {len(vector) for vector in of_image.values()}
    if len(sizes) != 1 or sizes.pop() % queries_QD.shape[1]:
        raise FormatError(
            f"{GALLERY}: vectors should have as many numbers as those of the queries ({queries_QD.shape[1]}) "
            "or a multiple, all the same, and name pictures of the dataset's lists"
        )
    return Vectors(of_image, queries_QD)


def read_rankings(
    folder: Path, queries: Sequence[Query], lists: Lists, max_bytes: int
) -> dict[int, list[str]]:
    """Number of the query -> image_ids, best first, from rankings.<category>.json. Raises FormatError."""
    found: dict[int, list[str]] = {}
    known = {name for _, name in lists.known}
    for category in sorted({query.category for query in queries}):
        path = folder / f"rankings.{category}.json"
        records = _json(path, max_bytes)
        all_named: dict[str, None] = {}
        for number, query in enumerate(queries):
            if query.category != category:
                continue
            if query.place is None or query.place >= len(records):
                raise FormatError(
                    f"{path.name} has {len(records)} records, there is none for place {query.place}"
                )
            where = f"{path.name}, record {query.place}"
            record = records[query.place]
            if not isinstance(record, dict) or not isinstance(record.get("ranking"), list):
                raise FormatError(f'{where}: should be {{"candidate": ..., "ranking": [...]}}')
            if lists.image_ids.get((category, str(record.get("candidate")))) != query.reference_id:
                raise FormatError(
                    f"{where}: candidate should be that of the dataset's record, is "
                    f"{str(record.get('candidate'))[:80]!r}"
                )
            ranking = [str(name) for name in record["ranking"]]
            all_named |= dict.fromkeys(ranking)
            keys = [(category, name) for name in ranking]
            found[number] = [lists.image_ids[key] for key in keys if key in lists.image_ids]
        unknown = [name for name in all_named if name not in known]
        listed = [key for key in lists.image_ids if key[0] == category]
        _check_known(path.name, unknown, len(all_named), "a ranking may name no others", listed)
    return found


def _check_known(file: str, unknown: Sequence[str], total: int, trouble: str, listed: Sequence[Key]) -> None:
    """Raises FormatError if there are names that no list of the dataset has."""
    if unknown:
        examples = ", ".join(repr(name[:80]) for name in unknown[:EXAMPLES])
        raise FormatError(
            f"{file}: {len(unknown)} of the {total} pictures that it names are in no list of the dataset, "
            f"e.g. {examples}, and {trouble}; names should be as in the lists, such as {listed[0][1]!r}"
        )


def _table(path: Path, columns: set[str], max_bytes: int) -> pa.Table:
    _bounded(path, max_bytes)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if missing := sorted(columns - set(table.column_names)):
        raise FormatError(
            f"{path.name} should have the columns {', '.join(sorted(columns))}, lacks {missing[0]}"
        )
    for name in sorted(columns - {"vector"}):
        if pa.types.is_nested(table[name].type):
            raise FormatError(f"{path.name}: {name} should be a text or a number, is {table[name].type}")
    return table


def _vectors(table: pa.Table, name: str) -> np.ndarray:
    """The column `vector` as float32 N x D."""
    try:
        vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{name}: vectors should be lists of as many numbers each ({error})") from error
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise FormatError(f"{name}: vectors should be lists of finite numbers, as many in each row")
    return vectors


def _json(path: Path, max_bytes: int) -> list[Any]:
    _bounded(path, max_bytes)
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path.name} cannot be read as JSON: {error}") from error
    if not isinstance(value, list):
        raise FormatError(f"{path.name} should be a list of records, one for each of the dataset's")
    return value


def _bounded(path: Path, max_bytes: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read ({error.strerror}); a submission has {GALLERY} and {QUERIES}, or "
            "rankings.<category>.json"
        ) from error
    if size > max_bytes:
        raise FormatError(
            f"{path} has over {max_bytes >> 20} MiB; raise submission.max_file_mib if that is right"
        )
