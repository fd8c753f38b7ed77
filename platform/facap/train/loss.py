"""Symmetric contrastive loss over the global batch, with false negatives masked.

Row i is the query of triplet i. Column i < B is its target; columns from B on, if any, are reference
pictures, all of them negatives. A column that shows the same product (or the same picture) as
target i is left out of row i's softmax, and likewise the other way round: FACap's dress triplets
alone share half of their targets. With `hardness` b above 0 a negative weighs by exp(b * its logit), scaled
to a mean of 1 over its row's negatives (Robinson et al. 2021): those that are nearly right count most.

    >>> q = torch.eye(2)
    >>> key = torch.tensor([7, 8])
    >>> round(contrastive_loss(q, q, key, torch.tensor([1.0])).item(), 4)
    0.3133

Shapes: B triplets of the global batch, G >= B candidates, D channels of unit vectors.
"""

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy

from facap.model.matching import scores


def contrastive_loss(
    query_BD: torch.Tensor,
    candidate_GD: torch.Tensor,
    product_G: torch.Tensor,
    temperature: torch.Tensor,
    two_way: bool = True,
    hardness: float = 0.0,
) -> torch.Tensor:
    """The query -> candidate cross-entropy or, `two_way`, the mean of it and of target -> query.

    `product_G`: a number for each candidate; candidates with equal numbers are never negatives
    of one another's queries.
    """
    size = len(query_BD)
    logits_BG = scores(query_BD, candidate_GD) / temperature
    same_BG = product_G[:size, None] == product_G[None, :]
    same_BG[torch.arange(size), torch.arange(size)] = False
    logits_BG = logits_BG.masked_fill(same_BG, float("-inf"))
    labels = torch.arange(size, device=query_BD.device)
    forward = cross_entropy(_harder(logits_BG, hardness), labels)
    if not two_way:
        return forward
    backward = cross_entropy(_harder(logits_BG[:, :size].T, hardness), labels)
    return (forward + backward) / 2


def _harder(logits_BG: torch.Tensor, hardness: float) -> torch.Tensor:
    """The logits with the logarithms of the negatives' weights added; row i's positive is column i."""
    if not hardness:
        return logits_BG
    with torch.no_grad():
        negative_BG = (hardness * logits_BG).fill_diagonal_(float("-inf"))
        number_B1 = negative_BG.isfinite().sum(dim=1, keepdim=True)
        weight_BG = number_B1.log() + negative_BG.log_softmax(dim=1)
        weight_BG = torch.where(negative_BG.isfinite(), weight_BG, 0)
    return logits_BG + weight_BG


def gather(local: torch.Tensor) -> torch.Tensor:
    """The rows of every rank, rank 0's first; only this rank's own carry gradients.

    That is enough: each rank computes the whole loss, and the gradient that reaches its own rows is
    the whole one. So no collective is needed on the way back.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.detach().contiguous())
    parts[dist.get_rank()] = local
    return torch.cat(parts)


def global_loss(
    query_BD: torch.Tensor,
    target_BD: torch.Tensor,
    reference_BD: torch.Tensor | None,
    product_B: torch.Tensor,
    reference_product_B: torch.Tensor | None,
    temperature: torch.Tensor,
    two_way: bool = True,
    hardness: float = 0.0,
) -> torch.Tensor:
    """The loss of all ranks' rows together, from this rank's; every rank gets the same value.

    FSDP averages gradients over ranks, while each rank holds its own rows' share of one sum: so the
    gradients are scaled up by the number of ranks. The temperature's is whole on every rank already.
    """
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    temperature = temperature.detach() + (temperature - temperature.detach()) / ranks
    candidates, products = gather(target_BD), gather(product_B)
    if reference_BD is not None and reference_product_B is not None:
        candidates = torch.cat([candidates, gather(reference_BD)])
        products = torch.cat([products, gather(reference_product_B)])
    loss = contrastive_loss(gather(query_BD), candidates, products, temperature, two_way, hardness)
    return loss.detach() + (loss - loss.detach()) * ranks
