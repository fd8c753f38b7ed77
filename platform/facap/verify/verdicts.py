"""A text's claims against the answers about its two pictures -> a VERDICTS row.

Faithfulness is the share of the claims that the answers support. An answer that does not speak of an
attribute supports no claim that a value is there: whoever writes "add a belt" where nobody sees one is wrong.
What differs between the two answers and is not in the text is noted but lowers nothing: texts may leave
things out, and counting it made corrupted texts harder to tell from good ones (docs/verify.md).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa

from facap.annotate import taxonomy
from facap.annotate.taxonomy import Taxonomy
from facap.schemas import OK, VERDICTS, from_rows
from facap.verify.answers import Texts
from facap.verify.claims import Claim, claims
from facap.verify.origin import Origin
from facap.verify.reading import DESCRIPTION, read

KEY = ("reference_id", "target_id", "category", "split", "place")
PASSED_ON = (*KEY, "rank", "gallery_size", "ranked_by")
NO_ANSWER = "no_answer"
Attributes = Mapping[str, str]


class Judge:
    """Triplets with their ranks -> VERDICTS rows, on a worker. `origin`: of the answers, `texts`."""

    def __init__(self, texts: Texts, origin: Origin) -> None:
        self.texts, self.origin = texts, origin

    def __call__(self, triplets: pa.Table) -> pa.Table:
        words = taxonomy.load(self.origin.config.taxonomy)

        @cache
        def known(image_id: str) -> dict[str, str] | None:
            said = self.texts.get(image_id)
            return None if said is None else read(said, words)

        rows = []
        for row in triplets.to_pylist():
            sides = known(row["reference_id"]), known(row["target_id"])
            verdict = self._verdict(row, sides[0], sides[1], words)
            passed_on = {name: row[name] for name in PASSED_ON}
            rows.append(passed_on | self.origin.of(row["category"]) | verdict)
        return from_rows(rows, VERDICTS)

    def _verdict(
        self, row: dict[str, Any], reference: Attributes | None, target: Attributes | None, words: Taxonomy
    ) -> dict[str, Any]:
        if reference is None or target is None:
            lacking = row["reference_id"] if reference is None else row["target_id"]
            return {"status": NO_ANSWER, "error": f"nothing usable was answered about image {lacking}"}
        verdict = judge(row["modification"], reference, target, words)
        if DESCRIPTION not in self.texts[row["reference_id"]]:
            verdict |= {"unspoken": None}  # only what was claimed was asked for
        return verdict | {"status": OK}


def judge(text: str, reference: Attributes, target: Attributes, words: Taxonomy) -> dict[str, Any]:
    """faithfulness, claims, failed, unsupported and unspoken of one text."""
    found = claims(text, words)
    sides = {"reference": reference, "target": target}
    unsupported = [claim for claim in found if not supported(claim, sides[claim.of], words)]
    spoken = {claim.attribute for claim in found}
    return {
        "faithfulness": 1 - len(unsupported) / len(found) if found else None,
        "claims": len(found),
        "failed": len(unsupported),
        "unsupported": [
            f"{claim} (seen: {_seen(claim, sides[claim.of], words) or 'nothing'})" for claim in unsupported
        ],
        "unspoken": [
            f"{name}: {reference.get(name, 'nothing')} > {target.get(name, 'nothing')}"
            for name in sorted(reference.keys() | target.keys())
            if reference.get(name) != target.get(name) and name not in spoken
        ],
    }


def supported(claim: Claim, answer: Attributes, words: Taxonomy) -> bool:
    """Whether an answer shows what is claimed.

    "navy" may be the main colour or the second one, as texts seldom say which; what is not there is looked
    for in the attribute itself only.
    """
    values = _seen(claim, answer, words).split(", ")
    return (claim.value in values) == claim.holds


def _seen(claim: Claim, answer: Attributes, words: Taxonomy) -> str:
    """What the answer says of the claim's attribute, joined with ", "."""
    names = [claim.attribute]
    if claim.holds and claim.attribute in words.seconds:
        names.append(words.seconds[claim.attribute])
    return ", ".join(answer[name] for name in names if name in answer)
