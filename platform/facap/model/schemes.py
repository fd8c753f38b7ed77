"""How states become vectors: FashionBLIP-2's own matching, and those of others to compare it with.

All start from BLIP-2's modules and are trained by the same trainer; a scheme is what a query's and a
candidate's vectors are made of: `query(model, image_BNE, ids_BL, mask_BL)`, `candidate(states_GQH)`, and
`dim`, the numbers of a candidate's vector. Scores are those of `facap.model.matching.scores`.

- "multi_head": FashionBLIP-2's, see `facap.model.matching`.
- "mean": one vector a side, the mean of the projected query tokens (CoVR-2, Ventura et al. 2024).
- "best_token": a query is one sentence token, which is read after the query tokens of picture and text have
  been put before the text once more; a candidate keeps its query tokens, and the best of them counts (SPRC,
  Bai et al. 2024). SPRC's second, aligning loss is left out.
- "combiner": picture and text are embedded apart, and a small network joins them (CLIP4Cir, Baldrati et al.
  2022); "sum": the network is a plain sum, "text_only" and "image_only": one of the two alone.

Shapes: B queries, G candidates, N patches + 1, E encoder channels, L text tokens, Q query tokens, H Q-Former
channels, P channels of BLIP-2's projections (256 in the published checkpoints).
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from facap.model.config import FashionBlip2Config
from facap.model.matching import Matching, flatten, unit

if TYPE_CHECKING:
    from facap.model.fashionblip2 import FashionBlip2


def build_scheme(base: Any, config: FashionBlip2Config) -> nn.Module:
    """The scheme that the settings name, started from the base's own projections."""
    if config.matching == "multi_head":
        return MultiHead(base, config)
    if config.matching == "mean":
        return Mean(base)
    if config.matching == "best_token":
        return BestToken(base)
    return Composed(base, config.matching)


class MultiHead(Matching):
    """FashionBLIP-2: n_t vectors of d_c channels in one row, as `flatten` puts them."""

    def __init__(self, base: Any, config: FashionBlip2Config) -> None:
        super().__init__(
            num_queries=base.config.num_query_tokens,
            query_dim=base.config.qformer_config.hidden_size,
            num_tokens=config.num_match_tokens,
            dim=config.match_dim,
            mixer=config.mixer,
        )
        self.start_from(base.vision_projection.weight.detach())
        self.dim = config.num_match_tokens * config.match_dim

    def query(
        self, model: "FashionBlip2", image_BNE: torch.Tensor, ids_BL: torch.Tensor, mask_BL: torch.Tensor
    ) -> torch.Tensor:
        return flatten(self(model.query_states(image_BNE, ids_BL, mask_BL)))

    def candidate(self, states_GQH: torch.Tensor) -> torch.Tensor:
        return flatten(self(states_GQH))


class Mean(nn.Module):
    """The mean of the query tokens, as BLIP-2's image projection shows them; P channels."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.vision_projection = base.vision_projection
        self.dim = self.vision_projection.out_features

    def query(
        self, model: "FashionBlip2", image_BNE: torch.Tensor, ids_BL: torch.Tensor, mask_BL: torch.Tensor
    ) -> torch.Tensor:
        return self.candidate(model.query_states(image_BNE, ids_BL, mask_BL))

    def candidate(self, states_GQH: torch.Tensor) -> torch.Tensor:
        tokens_GQP = unit(self.vision_projection(states_GQH))
        return unit(tokens_GQP.mean(dim=1))


class BestToken(nn.Module):
    """A sentence token against each of a candidate's query tokens; P and Q * P channels."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.vision_projection, self.text_projection = base.vision_projection, base.text_projection
        self.dim = base.config.num_query_tokens * self.vision_projection.out_features

    def query(
        self, model: "FashionBlip2", image_BNE: torch.Tensor, ids_BL: torch.Tensor, mask_BL: torch.Tensor
    ) -> torch.Tensor:
        prompt_BQH = model.query_states(image_BNE, ids_BL, mask_BL)
        sentence_BH = model.text_state(ids_BL, mask_BL, prompt_BQH)
        return unit(self.text_projection(sentence_BH))

    def candidate(self, states_GQH: torch.Tensor) -> torch.Tensor:
        return unit(self.vision_projection(states_GQH)).flatten(1)


class Composed(Mean):
    """Picture and text embedded apart as BLIP-2 does, and joined; P channels. Starts at their sum."""

    def __init__(self, base: Any, kind: str) -> None:
        super().__init__(base)
        self.kind = kind
        if kind != "image_only":
            self.text_projection = base.text_projection
        if kind == "combiner":
            self.combiner = Combiner(self.dim)

    def query(
        self, model: "FashionBlip2", image_BNE: torch.Tensor, ids_BL: torch.Tensor, mask_BL: torch.Tensor
    ) -> torch.Tensor:
        if self.kind == "image_only":
            return self.candidate(model.candidate_states(image_BNE))
        text_BP = unit(self.text_projection(model.text_state(ids_BL, mask_BL)))
        if self.kind == "text_only":
            return text_BP
        image_BP = self.candidate(model.candidate_states(image_BNE))
        if self.kind == "combiner":
            return unit(self.combiner(image_BP, text_BP))
        return unit(image_BP + text_BP)


class Combiner(nn.Module):
    """Two vectors of P channels -> one: a weighted sum, the weight learnt of both, and a learnt third part.

    Widths and dropout are CLIP4Cir's in proportion; the third part starts at zero and the weight at a half.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Dropout(0.5))
        self.text = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Dropout(0.5))
        third, weight = nn.Linear(8 * dim, dim), nn.Linear(8 * dim, 1)
        for last in (third, weight):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.joined = nn.Sequential(nn.Linear(8 * dim, 8 * dim), nn.ReLU(), nn.Dropout(0.5), third)
        self.weight = nn.Sequential(nn.Linear(8 * dim, 8 * dim), nn.ReLU(), nn.Dropout(0.5), weight)

    def forward(self, image_BP: torch.Tensor, text_BP: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.image(image_BP), self.text(text_BP)], dim=-1)
        share_B1 = torch.sigmoid(self.weight(both))
        return self.joined(both) + share_B1 * text_BP + (1 - share_B1) * image_BP
