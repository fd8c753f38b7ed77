"""Multi-head query-candidate matching: n_q x d_q query outputs -> n_t unit rows of d_c channels.

Transpose, token mixing n_q -> n_t, transpose, channel mixing d_q -> d_c, L2-normalise each row. The
score of a query and a candidate is the sum of the n_t cosines of rows in the same position. `flatten`
scales the n_t*d_c numbers to unit length, so an inner product of two flat vectors is score / n_t.

    >>> match = Matching(num_queries=16, query_dim=192, num_tokens=12, dim=64, mixer="linear")
    >>> match(torch.randn(2, 16, 192)).shape
    torch.Size([2, 12, 64])

Shapes: B rows, Q = n_q query tokens, H = d_q channels, T = n_t match tokens, C = d_c channels.
"""

import torch
from torch import nn
from torch.nn.functional import normalize


class Mixer(nn.Module):
    """A linear map of the last axis; "mlp" adds a two-layer branch that starts at zero."""

    def __init__(self, inputs: int, outputs: int, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.zeros_(self.linear.bias)
        self.branch: nn.Module | None = None
        if kind == "mlp":
            last = nn.Linear(2 * inputs, outputs)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.branch = nn.Sequential(nn.Linear(inputs, 2 * inputs), nn.GELU(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return y if self.branch is None else y + self.branch(x)


class Matching(nn.Module):
    """x_BQH -> rows_BTC of unit length; one module for queries and candidates alike."""

    def __init__(self, num_queries: int, query_dim: int, num_tokens: int, dim: int, mixer: str) -> None:
        super().__init__()
        self.tokens = Mixer(num_queries, num_tokens, mixer)
        self.channels = Mixer(query_dim, dim, mixer)
        with torch.no_grad():
            self.tokens.linear.weight.copy_(group_average(num_queries, num_tokens))
            nn.init.orthogonal_(self.channels.linear.weight)

    def start_from(self, projection: nn.Linear) -> torch.Tensor:
        """Starts channel mixing at the principal directions of the base's own image projection, H -> P.

        For the same d_c numbers they keep the most of BLIP-2's inner products; directions beyond
        those that the projection has stay orthogonal random ones. Returns the directions as rows of P
        channels, as many as are kept.
        """
        left, values, _ = torch.linalg.svd(projection.weight.detach().float(), full_matrices=False)
        linear = self.channels.linear
        count = min(len(values), linear.out_features)
        kept_KP = left.T[:count]
        with torch.no_grad():
            linear.weight[:count] = kept_KP @ projection.weight / values[0]
            linear.bias[:count] = kept_KP @ projection.bias / values[0]
        return kept_KP

    def mix(self, x_BQH: torch.Tensor) -> torch.Tensor:
        """Token mixing alone: n_q states -> n_t, BTH."""
        return self.tokens(x_BQH.transpose(1, 2)).transpose(1, 2)

    def forward(self, x_BQH: torch.Tensor) -> torch.Tensor:
        return unit(self.channels(self.mix(x_BQH)))


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows of the last axis at unit length, in float32 at least, as bfloat16 would lose ranks."""
    return normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def group_average(num_queries: int, num_tokens: int) -> torch.Tensor:
    """A T x Q start for token mixing: match token t averages its own run of neighbouring query tokens."""
    weight = torch.zeros(num_tokens, num_queries)
    for t in range(num_tokens):
        first = t * num_queries // num_tokens
        last = max(first + 1, (t + 1) * num_queries // num_tokens)
        weight[t, first:last] = 1 / (last - first)
    return weight


def flatten(rows_BTC: torch.Tensor) -> torch.Tensor:
    """n_t unit rows -> one unit vector of n_t * d_c numbers."""
    return rows_BTC.flatten(1) / rows_BTC.shape[1] ** 0.5


def score(query_BTC: torch.Tensor, candidate_GTC: torch.Tensor) -> torch.Tensor:
    """B x G scores: sums of the n_t position-paired cosines, -n_t to n_t."""
    return torch.einsum("btc,gtc->bg", query_BTC, candidate_GTC)


def scores(query_BD: torch.Tensor, candidate_GE: torch.Tensor) -> torch.Tensor:
    """B x G inner products of vectors; of a candidate that is several vectors in a row (E = k * D), the best.

    The second is the "best_token" scheme's, see facap.model.schemes.
    """
    dim = query_BD.shape[1]
    each_BGk = query_BD @ candidate_GE.reshape(-1, dim).T
    if candidate_GE.shape[1] == dim:
        return each_BGk
    return each_BGk.reshape(len(query_BD), len(candidate_GE), -1).amax(-1)
