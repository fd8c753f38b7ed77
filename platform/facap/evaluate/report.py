"""METRICS as the retrieval table that a run ends with.

model                    R@1 %         R@5 %  ...   median rank   gallery
fashionblip2   21.0 [18.2, 24.1]   ...
"""

from collections.abc import Iterable

import pyarrow as pa

from facap.evaluate.protocol import ALL

COLUMNS = {
    "R@1 %": "recall@1",
    "R@5 %": "recall@5",
    "R@10 %": "recall@10",
    "R@10 % (product)": "recall_product@10",
    "mAP %": "map",
    "median rank": "median_rank",
}


def retrieval_tables(metrics: pa.Table, category: str = ALL) -> str:
    """A table for each benchmark and protocol under its name, and a warning where pictures are missing."""
    parts = []
    rows = metrics.to_pylist()
    for benchmark, protocol in dict.fromkeys((row["benchmark"], row["protocol"]) for row in rows):
        mine = [row for row in rows if (row["benchmark"], row["protocol"]) == (benchmark, protocol)]
        coverage = min(row["coverage"] for row in mine)
        missing = f"; {1 - coverage:.1%} of the gallery is missing: NOT comparable" if coverage < 1 else ""
        parts.append(f"{benchmark}, protocol {protocol}{missing}\n{retrieval_table(mine, category)}")
    return "\n\n".join(parts)


def retrieval_table(rows: Iterable[dict], category: str = ALL) -> str:
    """A line a model, the best R@10 first: value [interval] of each metric, queries, gallery size.

    `rows` of METRICS, of one benchmark and protocol. `category`: one of these; "all" is the mean over all.
    """
    found: dict[str, dict[str, dict]] = {}
    for row in rows:
        if row["category"] == category:
            found.setdefault(row["model_version"], {})[row["metric"]] = row
    ordered = sorted(found, key=lambda version: -found[version]["recall@10"]["value"])
    lines = [["model", *COLUMNS, "queries", "gallery"]]
    for version in ordered:
        cells = [_cell(found[version][metric]) for metric in COLUMNS.values()]
        counts = found[version]["recall@10"]
        name = version.partition("@")[0]
        lines.append([name, *cells, f"{counts['num_queries']:,}", f"{counts['gallery_size']:,}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def _cell(row: dict) -> str:
    scale = 1 if row["metric"] == "median_rank" else 100
    value, low, high = (scale * row[name] for name in ("value", "ci_low", "ci_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
