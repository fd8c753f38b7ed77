"""Recall@10 on the validation triplets, computed by all ranks together.

The gallery is every picture that the validation rows name; a query's own reference is left out of
its ranking. The protocols that results are published under live in facap.evaluate.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from facap.model.fashionblip2 import FashionBlip2
from facap.model.matching import scores
from facap.model.text import Tokens
from facap.train.feed import Pictures
from facap.train.loss import gather
from facap.train.sharding import reshard

K = 10
SAMPLES, SHOWN = 6, 5  # queries that are shown, and pictures of each


@dataclass(frozen=True)
class Validation:
    """Recall of all queries, None without any; and what the first few find."""

    recall: float | None
    samples: list[dict[str, Any]]  # reference_id, modification, target_id and found: image_ids, best first

    def metrics(self) -> dict[str, float]:
        """By the name that it is logged under."""
        return {} if self.recall is None else {"val_recall_at_10": self.recall}


def validate(
    model: FashionBlip2,
    pictures: Pictures,
    tokens: Tokens,
    rows: list[dict[str, Any]],
    batch_size: int,
    precision: str,
    device: torch.device,
) -> Validation:
    """Recall is the share of queries whose target is among the first 10, the same on every rank."""
    if not rows:
        return Validation(None, [])
    gallery = sorted({row[side] for row in rows for side in ("reference_id", "target_id")})
    column = {image: i for i, image in enumerate(gallery)}
    rank, ranks = dist.get_rank(), dist.get_world_size()
    # All ranks call the sharded model equally often: the shares wrap round to the same length.
    turns = -(-max(len(rows), len(gallery)) // (ranks * batch_size))
    queries, candidates = [], []
    model.eval()
    for turn in range(turns):
        places = [(turn * ranks + rank) * batch_size + i for i in range(batch_size)]
        mine = [rows[p % len(rows)] for p in places]
        shown = [row["reference_id"] for row in mine] + [gallery[p % len(gallery)] for p in places]
        ids, mask = tokens([row["modification"] for row in mine])
        index = torch.arange(2 * batch_size, device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            query, candidate, _ = model(
                pictures.inputs([pictures.position[image] for image in shown]).to(device),
                index[:batch_size],
                index[batch_size:],
                ids.to(device),
                mask.to(device),
                not pictures.cached,
            )
            queries.append(gather(query))
            candidates.append(gather(candidate))
    reshard(model)
    query_BD = torch.cat(queries)[: len(rows)]
    score_BG = scores(query_BD, torch.cat(candidates)[: len(gallery)])
    every = torch.arange(len(rows))
    score_BG[every, torch.tensor([column[row["reference_id"]] for row in rows])] = -torch.inf
    target = torch.tensor([column[row["target_id"]] for row in rows], device=device)
    better = (score_BG > score_BG[every, target].unsqueeze(1)).sum(dim=1)
    recall = (better < K).float().mean()
    dist.broadcast(recall, 0)  # all decide on the same number, to the last bit
    return Validation(recall.item(), _samples(rows[:SAMPLES], gallery, score_BG[:SAMPLES]))


def _samples(rows: list[dict[str, Any]], gallery: list[str], score_BG: torch.Tensor) -> list[dict[str, Any]]:
    found = score_BG.topk(min(SHOWN, len(gallery) - 1)).indices.tolist()
    return [
        {name: row[name] for name in ("reference_id", "modification", "target_id")}
        | {"found": [gallery[i] for i in places]}
        for row, places in zip(rows, found, strict=True)
    ]
