"""What is trained and what is claimed. All but the champion have the same batches, steps and learning rates.

>>> VARIANTS["mean"].model
{'matching': 'mean'}
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from facap.model.config import FashionBlip2Config

Texts = Literal["fine", "coarse"]  # of the queries, too
Ways = Literal["two_stage", "one_stage", "unverified", "verified"]  # see facap.study.annotated
MODEL, CHAMPION, PAPER = "fashionblip2", "champion", "multi_head"


@dataclass(frozen=True)
class Variant:
    """One row of the table: what of the model, its texts or its triplets is otherwise."""

    what: str
    model: dict[str, Any] = field(default_factory=dict)  # of FashionBlip2Config
    texts: Texts | Ways = "fine"  # that it learns from
    before: Texts | None = None  # in the first half of its steps, of all triplets
    share: float = 1.0  # of the training triplets
    longer: int = 1  # times the steps of the others
    masked: bool = True  # triplets of one target are not each other's negatives
    group: str = "matching"

    @property
    def annotated(self) -> bool:
        """Whether models write its texts."""
        return self.texts in get_args(Ways)

    def depth(self) -> int | None:
        """How many vision blocks are adapted; what is below them can be computed once for all variants."""
        return FashionBlip2Config(**self.model).adapter_blocks


@dataclass(frozen=True)
class Claim:
    """`better` finds more than `worse` for the queries of `texts`."""

    said: str
    better: str
    worse: str
    texts: Texts = "fine"


def _paper(tokens: int, channels: int) -> dict[str, Any]:
    return {"matching": PAPER, "num_match_tokens": tokens, "match_dim": channels}


VARIANTS: dict[str, Variant] = {
    MODEL: Variant(
        "anchored multi-head matching, 12 tokens of 64 channels; adapters; detailed texts", group="ours"
    ),
    CHAMPION: Variant(
        "the same, trained four times as long: no part of the comparison", longer=4, group="ours"
    ),
    PAPER: Variant("multi-head matching as in the paper, queries not anchored", {"matching": PAPER}),
    "one_vector": Variant("the paper's, one token of 768 channels", _paper(1, 768), group="heads"),
    "heads_4": Variant("the paper's, 4 tokens of 192 channels", _paper(4, 192), group="heads"),
    "heads_16": Variant("the paper's, 16 tokens of 48 channels", _paper(16, 48), group="heads"),
    "mean": Variant("the mean of the query tokens (CoVR-2)", {"matching": "mean"}),
    "best_token": Variant("the best of the query tokens (SPRC)", {"matching": "best_token"}),
    "combiner": Variant("picture and text apart, joined by a network (CLIP4Cir)", {"matching": "combiner"}),
    "sum": Variant("picture and text apart, summed", {"matching": "sum"}),
    "text_only": Variant("the text alone", {"matching": "text_only"}),
    "image_only": Variant("the picture alone", {"matching": "image_only"}),
    "lora": Variant(
        "LoRA of rank 16 for adapters", {"adapter": "lora", "adapter_width": 16}, group="adapters"
    ),
    "no_adapters": Variant("the image encoder as it is", {"adapter_blocks": 0}, group="adapters"),
    "mask_off": Variant("shared targets are each other's negatives", masked=False, group="loss"),
    "coarse": Variant("short texts", texts="coarse", group="texts"),
    "coarse_after_fine": Variant(
        "detailed texts, then short ones", texts="coarse", before="fine", group="texts"
    ),
    "few_coarse": Variant("short texts of a tenth of the triplets", texts="coarse", share=0.1, group="texts"),
    "few_coarse_after_fine": Variant(
        "detailed texts of all, then short ones of a tenth",
        texts="coarse",
        before="fine",
        share=0.1,
        group="texts",
    ),
    "two_stage": Variant("texts by models, from captions", texts="two_stage", group="annotation"),
    "one_stage": Variant("texts by models, from attributes alone", texts="one_stage", group="annotation"),
    "unverified": Variant(
        "texts by models, a fifth of them made wrong", texts="unverified", group="annotation"
    ),
    "verified": Variant("those of them that verification keeps, fewer", texts="verified", group="annotation"),
    "half": Variant("half of the triplets", share=0.5, group="data"),
    "quarter": Variant("a quarter of the triplets", share=0.25, group="data"),
}

CLAIMS = (
    Claim(
        "Pre-training on many detailed texts helps with few short ones",
        "few_coarse_after_fine",
        "few_coarse",
        "coarse",
    ),
    Claim(
        "Pre-training on detailed texts helps with as many short ones",
        "coarse_after_fine",
        "coarse",
        "coarse",
    ),
    Claim("Detailed texts teach more than short ones", MODEL, "coarse"),
    Claim("Adapters in the image encoder help", MODEL, "no_adapters"),
    Claim("Adapters are better than LoRA", MODEL, "lora"),
    Claim("Several matching tokens are better than one vector", PAPER, "one_vector"),
    Claim("Multi-head matching is better than the mean of tokens", PAPER, "mean"),
    Claim("Multi-head matching is better than the best of the tokens", PAPER, "best_token"),
    Claim("Multi-head matching is better than joining picture and text afterwards", PAPER, "combiner"),
    Claim("Multi-head matching is better than a sum of picture and text", PAPER, "sum"),
    Claim("Anchored queries, ours, are better than the paper's", MODEL, PAPER),
    Claim("Anchored queries are better than joining picture and text afterwards", MODEL, "combiner"),
    Claim("Anchored queries are better than a sum of picture and text", MODEL, "sum"),
    Claim("Anchored queries are better with short texts, too", MODEL, "combiner", "coarse"),
    Claim("Leaving shared targets out of the negatives helps", MODEL, "mask_off"),
    Claim("Texts written from captions teach more than from attributes alone", "two_stage", "one_stage"),
    Claim("Leaving out what verification doubts helps", "verified", "unverified"),
    Claim("More triplets help", MODEL, "half"),
)
BASELINES = ("mean", "best_token", "combiner", "sum", "text_only", "image_only")
