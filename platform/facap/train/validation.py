"""Recall@10 on the validation triplets, computed by all ranks together.

The gallery is every picture that the validation rows name; a query's own reference is left out of
its ranking. The protocols that results are published under live in facap.evaluate.
"""

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


def recall_at_10(
    model: FashionBlip2,
    pictures: Pictures,
    tokens: Tokens,
    rows: list[dict[str, Any]],
    batch_size: int,
    precision: str,
    device: torch.device,
) -> dict[str, float]:
    """{"val_recall_at_10": share of queries whose target is among the first 10}; empty without rows."""
    if not rows:
        return {}
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
    return {"val_recall_at_10": (better < K).float().mean().item()}
