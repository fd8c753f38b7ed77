"""Marks files + TRIPLETS -> agreement figures, written and put into words.

    <workspace>/reports/agreement.json

    >>> figures = score(store, ReviewConfig(marks=("ann.json", "bob.json")))       # doctest: +SKIP
    >>> print(in_words(figures))                                                   # doctest: +SKIP

Several reviewers: a triplet is good if most of its marks say so; a tie is left out of everything but the
agreement between reviewers, and counted.
"""

import json
import math
from itertools import combinations
from typing import Any

import numpy as np

from facap import reports
from facap.errors import ConfigError, ContractError
from facap.review import agreement
from facap.review.agreement import Statistic
from facap.review.config import ReviewConfig
from facap.review.marks import MarksFile, check_together, read_marks
from facap.review.sample import Triplet, bucket_of, lower_edges, usable
from facap.store import Store

NAME = "agreement"
Key = tuple[str, str]
Figure = dict[str, float | None]  # value, low, high


def score(store: Store, config: ReviewConfig) -> dict[str, Any]:
    """The figures of `config.marks`, also written to reports/agreement.json.

    Raises ConfigError without a file, ContractError for files that are no marks of these TRIPLETS.
    """
    if not config.marks:
        raise ConfigError("review.marks: name the files that reviewers exported, --review.marks ann.json")
    files = [(path, read_marks(path)) for path in config.marks]
    version = store.fingerprint("triplets")
    check_together(files, version)
    triplets = {triplet.key: triplet for triplet in usable(store, config.score)}
    for name, file in files:
        strange = [mark.key for mark in file.marks if mark.key not in triplets]
        if strange:
            raise ContractError(
                f"{name}: {len(strange)} of {len(file.marks)} marks are of pairs without a text and a "
                f"{config.score} in TRIPLETS, the first is {strange[0][0]} > {strange[0][1]}"
            )
    figures = {"triplets": version, "score": config.score}
    figures |= compare(list(triplets.values()), [file for _, file in files], config)
    reports.write_text(store.path("reports", f"{NAME}.json"), json.dumps(figures, indent=1) + "\n")
    return figures


def compare(triplets: list[Triplet], files: list[MarksFile], config: ReviewConfig) -> dict[str, Any]:
    """The figures of checked files; `triplets` are all usable ones."""
    by_key = {triplet.key: triplet for triplet in triplets}
    marks = [{mark.key: mark.mark == "good" for mark in file.marks} for file in files]
    votes: dict[Key, list[bool]] = {}
    for some in marks:
        for key, good in some.items():
            votes.setdefault(key, []).append(good)
    decided = {key: sum(v) > len(v) / 2 for key, v in sorted(votes.items()) if 2 * sum(v) != len(v)}
    figures: dict[str, Any] = {
        "confidence": config.confidence,
        "reviewers": [
            {"name": file.reviewer, "marks": len(some), "good": sum(some.values())}
            for file, some in zip(files, marks, strict=True)
        ],
        "marked": len(votes),
        "disputed": len(votes) - len(decided),
    }
    if decided:
        score_N = np.array([by_key[key].score for key in decided])
        figures |= _against_score(
            [by_key[key] for key in decided], score_N, list(decided.values()), triplets, config
        )
    figures["between"] = [
        _between((files[a].reviewer, marks[a]), (files[b].reviewer, marks[b]), config)
        for a, b in combinations(range(len(files)), 2)
    ]
    return figures


def _against_score(
    marked: list[Triplet],
    score_N: np.ndarray,
    good: list[bool],
    triplets: list[Triplet],
    config: ReviewConfig,
) -> dict[str, Any]:
    good_N = np.array(good)
    edges = lower_edges([triplet.score for triplet in triplets], config.buckets)
    threshold = agreement.best_threshold(score_N, good_N)
    called_N = score_N >= threshold
    strata = sorted({(t.category, bucket_of(t.score, edges)) for t in triplets})
    number = {stratum: place for place, stratum in enumerate(strata)}
    population: dict[int, int] = {}
    for triplet in triplets:
        place = number[triplet.category, bucket_of(triplet.score, edges)]
        population[place] = population.get(place, 0) + 1
    stratum_N = np.array([number[t.category, bucket_of(t.score, edges)] for t in marked])
    weight_N = agreement.stratum_weights(stratum_N, population)
    return {
        "buckets": _buckets(marked, good_N, triplets, edges, config),
        "share_good": _rounded(*agreement.weighted_share(good_N, weight_N, config.confidence)),
        "auroc": _figure(lambda rows: agreement.auroc(score_N[rows], good_N[rows]), good_N, config),
        "threshold": threshold,
        "kappa": _figure(lambda rows: agreement.kappa(called_N[rows], good_N[rows]), good_N, config),
        "accuracy": _share(int((called_N == good_N).sum()), len(good_N), config),
        "commonest": round(float(max(good_N.mean(), 1 - good_N.mean())), 4),  # accuracy of always saying that
    }


def _buckets(
    marked: list[Triplet],
    good_N: np.ndarray,
    triplets: list[Triplet],
    edges: list[float],
    config: ReviewConfig,
) -> list[dict[str, Any]]:
    rows = []
    for bucket in range(len(edges)):
        scores = [triplet.score for triplet in triplets if bucket_of(triplet.score, edges) == bucket]
        here = [
            good
            for triplet, good in zip(marked, good_N, strict=True)
            if bucket_of(triplet.score, edges) == bucket
        ]
        total, hits = len(here), int(sum(here))
        row = {"least": min(scores), "greatest": max(scores), "triplets": len(scores)}
        rows.append(row | {"marked": total, "good": hits, "precision": _share(hits, total, config)})
    return rows


def _between(
    one: tuple[str, dict[Key, bool]], other: tuple[str, dict[Key, bool]], config: ReviewConfig
) -> dict[str, Any]:
    """How far two reviewers agree on what both marked."""
    both = sorted(one[1].keys() & other[1].keys())
    one_N, other_N = (np.array([marks[key] for key in both], bool) for marks in (one[1], other[1]))
    return {
        "reviewers": [one[0], other[0]],
        "both": len(both),
        "agree": _share(int((one_N == other_N).sum()), len(both), config),
        "kappa": _figure(lambda rows: agreement.kappa(one_N[rows], other_N[rows]), one_N, config)
        if both
        else None,
    }


def _share(hits: int, total: int, config: ReviewConfig) -> Figure | None:
    """A share with Wilson's interval; None of nothing."""
    return _rounded(hits / total, *agreement.wilson(hits, total, config.confidence)) if total else None


def _rounded(value: float, low: float, high: float) -> Figure:
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}


def _figure(statistic: Statistic, marks_N: np.ndarray, config: ReviewConfig) -> Figure | None:
    """Value and interval of a statistic; None where the marks leave it undefined."""
    value = statistic(np.arange(len(marks_N)))
    if math.isnan(value):
        return None
    ends = agreement.interval(statistic, len(marks_N), config.num_resamples, config.confidence)
    return _rounded(value, *ends) if ends else {"value": round(value, 4), "low": None, "high": None}


def in_words(figures: dict[str, Any]) -> str:
    """The figures as the lines that the job prints."""
    people = ", ".join(f"{one['name']} {one['marks']} ({one['good']} good)" for one in figures["reviewers"])
    lines = [
        f"{figures['marked']} triplets marked: {people}"
        + (f"; {figures['disputed']} left out, reviewers disagree" if figures["disputed"] else ""),
        f"intervals in brackets: {figures['confidence']:.0%}",
        "",
    ]
    if "buckets" in figures:
        name = figures["score"]
        lines.append(f"{name:<18} {'triplets':>9} {'marked':>7} {'good':>5}   share good")
        for row in figures["buckets"]:
            span = " to ".join(dict.fromkeys(f"{row[end]:.3g}" for end in ("least", "greatest")))
            lines.append(
                f"{span:<18} {row['triplets']:>9,} {row['marked']:>7} {row['good']:>5}   "
                f"{_said(row['precision'], 100)}"
            )
        lines += [
            "",
            f"good in all TRIPLETS, %     {_said(figures['share_good'], 100)}",
            f"AUROC of {name + ' ' * 17:.17} {_said(figures['auroc'])}",
            f"good from {name} {figures['threshold']:.3g} on:",
            f"  Cohen's kappa             {_said(figures['kappa'])}",
            f"  accuracy, %               {_said(figures['accuracy'], 100)}, "
            f"always the commonest mark {100 * figures['commonest']:.1f}",
        ]
    for pair in figures["between"]:
        lines += [
            "",
            f"{' and '.join(pair['reviewers'])}, {pair['both']} triplets both:",
            f"  same mark, %              {_said(pair['agree'], 100)}",
            f"  Cohen's kappa             {_said(pair['kappa'])}",
        ]
    return "\n".join(lines)


def _said(figure: Figure | None, scale: float = 1) -> str:
    """A value with its interval: "83.3 [66.4, 92.7]"; "-" where there is none."""
    if figure is None or figure["value"] is None:
        return "-"
    digits = 1 if scale == 100 else 2
    if figure["low"] is None or figure["high"] is None:
        return f"{scale * figure['value']:.{digits}f}"
    low, high = scale * figure["low"], scale * figure["high"]
    return f"{scale * figure['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
