"""When too many rows of a stage fail: it ends as soon as that is certain, and says what failed and why.

    >>> check_failures("caption", {"ok": 9, "wrong_category": 51}, most=0.05, total=1000)
    Traceback (most recent call last):
    ...
    facap.errors.StageFailed: caption: 51 of 1000 rows failed (51 wrong_category), more than the 5% that ...

A stage that writes with `dataflow.write_rows` hands it a FailureLimit; others call one as their rows arrive.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facap.errors import StageFailed
from facap.quoting import without_secrets
from facap.schemas import OK, key_columns

if TYPE_CHECKING:
    from facap.store import Stage

REASONS_TOLD, EXAMPLES_TOLD = 3, 3
PARTS_READ = 20  # most parts of failed rows that examples are looked for in
EXAMPLE_CHARS = 200

_HOST = "the host is down, overloaded, or cannot be reached from here"
_REFUSED = "the site refuses to hand these pictures out; ask its owner for leave, or to let you in"
_GONE = "the addresses are out of date; export the catalogue anew"
_NO_PICTURES = "many addresses lead to no picture; check the column that `url` is read from"
_DEAF = "the model does not do as the prompt says; check `template`, and `chat` for instruction-tuned models"
_NO_CAPTIONS = "many pictures have no usable caption; look at the failures of the caption stage first"
CAUSES = {
    "wrong_category": "the model does not know such pictures (the shipped ones know rendered garments only), "
    "or the catalogue's categories are not those of its pictures",
    "too_long": "answers are cut off; raise max_tokens and max_chars, unless the model does not find an end",
    "empty": _DEAF,
    "unparsable": _DEAF,
    "forbidden_phrase": _DEAF,
    "contradiction": _DEAF,
    "engine_error": "the engine refuses the requests; often they are longer than engine.max_model_len",
    "undecodable": "the pictures in IMAGES are damaged; crawl or import them again",
    "caption_missing": _NO_CAPTIONS,
    "no_caption": _NO_CAPTIONS,
    "identical": "the captions say too little to tell garments apart; another model or prompt says more",
    "duplicate_text": "the model writes the same text for many pairs; raise max_same_text or the temperature",
    "uncertain": "the model is not sure of its captions; lower pairs.min_confidence or take another model",
    "no_partner": "few garments resemble each other enough; look at pairs.min_similarity and max_changes",
    "no_answer": "the VLM gave no usable answer about the pictures; look at the failures in ANSWERS",
    "no_file": "imports.images is not the folder of this dataset's pictures",
    "blocked_address": "the addresses are not public; crawl.allow_networks names what may be crawled still",
    "robots_disallowed": "the site's robots.txt forbids these addresses",
    "robots_unreachable": _HOST,
    "opted_out": "the site asks that its pictures are not used so (X-Robots-Tag, crawl.opt_outs)",
    "http_401": _REFUSED,
    "http_403": _REFUSED,
    "http_404": _GONE,
    "http_410": _GONE,
    "http_429": "the site is asked too often; lower crawl.max_rate_per_host",
    "timeout": _HOST,
    "dns": _HOST,
    "connection": _HOST,
    "host_down": _HOST,
    "bad_url": _NO_PICTURES,
    "not_an_image": _NO_PICTURES,
}
"""Status -> what is most likely behind it, where most failures have it."""


@dataclass(frozen=True)
class FailureLimit:
    """Called with the rows by status in `stage`, raises StageFailed once the limit is sure to be passed.

    `total`: the rows that there will be, those of an earlier run included. `passing`: statuses that do not
    count, or not yet, because their rows are tried again in this run.
    """

    name: str
    stage: "Stage"
    most: float
    total: int
    passing: Collection[str] = ()

    def __call__(self, counts: Mapping[str, int]) -> None:
        """`counts` may have a row twice, as after a worker's death: the rows are counted before it raises."""
        if self.passed(counts):
            check_failures(self.name, self._counting(self._stored()), self.most, self.total, self.stage)

    def passed(self, counts: Mapping[str, int]) -> bool:
        """Whether the rest cannot bring the share of failures down to the limit any more."""
        counts = self._counting(counts)
        return is_passed(sum(counts.values()) - counts.get(OK, 0), self.total, self.most)

    def _counting(self, counts: Mapping[str, int]) -> dict[str, int]:
        return {status: rows for status, rows in counts.items() if status not in self.passing}

    def _stored(self) -> Counter:
        assert self.stage.schema is not None
        keys = key_columns(self.stage.schema)
        rows = self.stage.read([*keys, "status"])  # failed rows come first, so that a good one counts
        names = zip(*(rows.column(key).to_pylist() for key in keys), strict=True)
        return Counter(dict(zip(names, rows.column("status").to_pylist(), strict=True)).values())


def is_passed(failed: int, total: int, most: float) -> bool:
    """Whether so many failures of `total` rows are more than the share `most`."""
    return failed > 0 and failed / max(total, failed) > most


def check_failures(
    name: str,
    counts: Mapping[str, int],
    most: float,
    total: int | None = None,
    stage: "Stage | None" = None,
    setting: str = "max_failure_rate",
) -> None:
    """Raises StageFailed if more than the share `most` of a stage's rows failed, or all of them.

    `counts`: status -> rows. `total`: the rows that there will be, if these are not all yet. `stage`: where
    examples of failed rows are read. `setting`: what `most` is called.
    """
    seen = sum(counts.values())
    failed = seen - counts.get(OK, 0)
    if failed == seen and (total is None or seen >= total > 0):
        raise StageFailed(
            f"{name}: none of {seen} rows succeeded ({_reasons(counts)}); nothing was committed. "
            f"{_shown(counts, stage)}Fix the cause, then run again"
        )
    if is_passed(failed, total or seen, most):
        when = "" if total is None or seen >= total else f", so the stage ended after {seen} rows"
        raise StageFailed(
            f"{name}: {failed} of {total or seen} rows failed ({_reasons(counts)}), more than the {most:.0%} "
            f"that {setting} allows{when}; nothing was committed, rows that succeeded are kept. "
            f"{_shown(counts, stage)}Fix the cause or raise the limit, then run again"
        )


def _worst(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The reasons, the most frequent one first."""
    return sorted(((k, v) for k, v in counts.items() if k != OK and v), key=lambda kv: -kv[1])


def _reasons(counts: Mapping[str, int]) -> str:
    worst = _worst(counts)
    told = ", ".join(f"{v} {k}" for k, v in worst[:REASONS_TOLD])
    rest = sum(v for _, v in worst[REASONS_TOLD:])
    return (told or "no rows came out") + (f", {rest} others" if rest else "")


def _shown(counts: Mapping[str, int], stage: "Stage | None") -> str:
    """Examples and the likely cause, each as a sentence."""
    worst = _worst(counts)
    found = _examples(stage, [status for status, _ in worst]) if stage is not None else []
    text = f"For example {'; '.join(found)}. " if found else ""
    failed = sum(rows for _, rows in worst)
    for status, rows in worst[:1]:
        cause = CAUSES.get(status) or (_HOST if status.startswith("http_5") else "")
        if cause and 2 * rows > failed:  # the cause of most of them
            text += f"Likely cause: {cause}. "
    return text


def _examples(stage: "Stage", statuses: list[str]) -> list[str]:
    """Failed rows by id and error; the first of each reason, then more of the most frequent one."""
    assert stage.schema is not None
    name = key_columns(stage.schema)[0]
    found: dict[str, list[str]] = {status: [] for status in statuses}
    for part in stage.parts("failed-")[:PARTS_READ]:
        for row in stage.read_part(part, [name, "status", "error"]).to_pylist():
            if len(found.get(row["status"], [None] * EXAMPLES_TOLD)) < EXAMPLES_TOLD:
                error = without_secrets(row["error"] or row["status"])[:EXAMPLE_CHARS]
                key = without_secrets(row[name])  # that of a page is its address
                found[row["status"]].append(f"{key}: {error} ({row['status']})")
    first = [rows[0] for rows in found.values() if rows]
    more = [row for rows in found.values() for row in rows[1:]]
    return [*first, *more][:EXAMPLES_TOLD]
