"""What came of a crawl, in figures: IMAGES without its pictures -> one dict that JSON can say.

>>> figures = summarise(rows, seconds=60.0)          # doctest: +SKIP
>>> figures["counts"], figures["latency_ms"]["p50"]  # doctest: +SKIP
({'ok': 970, 'http_404': 30}, 41.0)
"""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facap.crawl.increments import VANISHED
from facap.crawl.lanes import host_of
from facap.schemas import OK

COLUMNS = [
    "item_id", "image_id", "url", "status", "format", "width", "height", "duplicate_of", "body_bytes",
    "latency_ms",
]  # fmt: skip
MOST_HOSTS = 40  # the largest ones are listed, the others are one line
QUANTILES = (5, 25, 50, 75, 95, 99)


def summarise(rows: pa.Table, seconds: float) -> dict[str, Any]:
    """The figures of the IMAGES rows of one crawl that took `seconds`; `rows` has COLUMNS."""
    counts = Counter(rows.column("status").to_pylist())
    vanished = counts.pop(VANISHED, 0)
    rows = rows.filter(pc.not_equal(rows.column("status"), VANISHED))
    good = rows.filter(pc.equal(rows.column("status"), OK))
    copies = good.filter(pc.is_valid(good.column("duplicate_of")))
    standing = dict(zip(good.column("item_id").to_pylist(), good.column("image_id").to_pylist(), strict=True))
    exact = sum(
        image == standing.get(first)
        for image, first in zip(
            copies.column("image_id").to_pylist(), copies.column("duplicate_of").to_pylist(), strict=True
        )
    )
    return {
        "items": rows.num_rows,
        "kept": good.num_rows - copies.num_rows,
        "exact_duplicates": exact,
        "near_duplicates": copies.num_rows - exact,
        "failed": rows.num_rows - good.num_rows,
        "vanished": vanished,
        "seconds": round(seconds, 1),
        "images_per_s": round(rows.num_rows / seconds, 1) if seconds else None,
        "counts": dict(counts.most_common()),
        "formats": dict(Counter(good.column("format").to_pylist()).most_common()),
        "hosts": _hosts(rows),
        "latency_ms": _spread(rows.column("latency_ms")),
        "body_bytes": _spread(rows.column("body_bytes")),
        "width": _spread(good.column("width")),
        "height": _spread(good.column("height")),
    }


def _hosts(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows, good ones and the commonest failure of each host, largest first."""
    by_host: dict[str, Counter] = {}
    for url, status in zip(rows.column("url").to_pylist(), rows.column("status").to_pylist(), strict=True):
        by_host.setdefault(host_of(url) or "(no address)", Counter())[status] += 1
    largest = sorted(by_host, key=lambda host: (-by_host[host].total(), host))
    table = [_host(host, by_host[host]) for host in largest[:MOST_HOSTS]]
    if others := largest[MOST_HOSTS:]:
        together = sum((by_host[host] for host in others), Counter())
        table.append(_host(f"{len(others)} other hosts", together))
    return table


def _host(name: str, counts: Counter) -> dict[str, Any]:
    failures = Counter({status: number for status, number in counts.items() if status != OK})
    most = failures.most_common(1)
    return {
        "host": name,
        "items": counts.total(),
        "ok": counts[OK],
        "share_ok": round(counts[OK] / counts.total(), 4),
        "commonest_failure": most[0][0] if most else None,
    }


def _spread(column: pa.ChunkedArray) -> dict[str, Any]:
    """Quantiles, and how many values lie in each power of two: "from" <= value < 2 * "from"."""
    values = column.drop_null().to_numpy()
    if not len(values):
        return {"values": 0, "total": 0, "histogram": []}
    exponents = np.floor(np.log2(np.maximum(values, 1))).astype(int)
    low, high = int(exponents.min()), int(exponents.max())
    numbers = np.bincount(exponents - low, minlength=high - low + 1).tolist()
    quantiles = np.percentile(values, QUANTILES)
    return {
        "values": len(values),
        "total": int(values.sum(dtype=np.int64)),
        **{f"p{q}": round(float(value), 1) for q, value in zip(QUANTILES, quantiles, strict=True)},
        "histogram": [
            {"from": 2**e, "values": n} for e, n in zip(range(low, high + 1), numbers, strict=True)
        ],
    }
