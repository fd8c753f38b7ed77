"""A text's claims against the answers about its two pictures -> a VERDICTS row.

Faithfulness is the share of the claims that the answers support. An answer that does not speak of an
attribute supports no claim that a value is there: whoever writes "add a belt" where nobody sees one is wrong.
What differs between the two answers and is not in the text is noted but lowers nothing: texts may leave
things out, and counting it made corrupted texts harder to tell from good ones (docs/verify.md).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import pyarrow as pa

from facap.annotate import taxonomy
from facap.annotate.claims import Claim, claims, seen
from facap.annotate.taxonomy import Taxonomy
from facap.schemas import OK, VERDICTS, from_rows
from facap.verify.answers import Texts
from facap.verify.origin import Origin
from facap.verify.reading import DESCRIPTION, read

KEY = ("reference_id", "target_id", "category", "split", "place")
PASSED_ON = (*KEY, "rank", "gallery_size", "ranked_by")
NO_ANSWER = "no_answer"
Attributes = Mapping[str, str]
Views = Mapping[str, Sequence[str]]


class Judge:
    """Triplets with their ranks -> VERDICTS rows, on a worker. `origin`: of the answers, `texts`.

    `views`: other pictures of the product, by picture; what is answered about them counts as well.
    """

    def __init__(self, texts: Texts, origin: Origin, views: Views | None = None) -> None:
        self.texts, self.origin, self.views = texts, origin, views or {}

    def __call__(self, triplets: pa.Table) -> pa.Table:
        words = taxonomy.load(self.origin.config.taxonomy)

        @cache
        def known(image_id: str) -> dict[str, str] | None:
            said = self.texts.get(image_id)
            return None if said is None else read(said, words)

        def seen_of(image_id: str) -> list[Attributes] | None:
            """The picture's own answer first; None without one."""
            own = known(image_id)
            others = [known(view) for view in self.views.get(image_id, ())]
            return None if own is None else [own, *(view for view in others if view is not None)]

        rows = []
        for row in triplets.to_pylist():
            sides = [seen_of(row["reference_id"]), seen_of(row["target_id"])]
            verdict = self._verdict(row, sides[0], sides[1], words)
            passed_on = {name: row[name] for name in PASSED_ON}
            rows.append(passed_on | self.origin.of(row["category"]) | verdict)
        return from_rows(rows, VERDICTS)

    def _verdict(
        self,
        row: dict[str, Any],
        references: Sequence[Attributes] | None,
        targets: Sequence[Attributes] | None,
        words: Taxonomy,
    ) -> dict[str, Any]:
        if references is None or targets is None:
            lacking = row["reference_id"] if references is None else row["target_id"]
            return {"status": NO_ANSWER, "error": f"nothing usable was answered about image {lacking}"}
        verdict = judge(row["modification"], references, targets, words)
        if DESCRIPTION not in self.texts[row["reference_id"]]:
            verdict |= {"unspoken": None}  # only what was claimed was asked for
        return verdict | {"status": OK}


def judge(
    text: str,
    references: Sequence[Attributes],
    targets: Sequence[Attributes],
    words: Taxonomy,
) -> dict[str, Any]:
    """faithfulness, claims, failed, unsupported and unspoken of one text.

    `references`, `targets`: what the answers say, of the picture itself first, then of other views of the
    product. A claim needs the support of every view; a change is unspoken if any two views show it.
    """
    found = claims(text, words)
    sides = {"reference": references, "target": targets}
    against = {
        claim: view
        for claim in found
        for view in reversed(sides[claim.of])  # the picture itself last, so that it is the one told
        if not supported(claim, view, words)
    }
    spoken = {claim.attribute for claim in found}
    changes = {
        name: f"{name}: {before.get(name, 'nothing')} > {after.get(name, 'nothing')}"
        for before, after in reversed(list(product(references, targets)))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and name not in spoken
    }
    return {
        "faithfulness": 1 - len(against) / len(found) if found else None,
        "claims": len(found),
        "failed": len(against),
        "unsupported": [
            f"{claim} (seen: {seen(claim, against[claim], words) or 'nothing'})"
            for claim in found
            if claim in against
        ],
        "unspoken": [changes[name] for name in sorted(changes)],
    }


def supported(claim: Claim, answer: Attributes, words: Taxonomy) -> bool:
    """Whether an answer shows what is claimed."""
    return (claim.value in seen(claim, answer, words).split(", ")) == claim.holds
