"""How states become vectors: FashionBLIP-2's own matching, and those of others to compare it with.

All start from BLIP-2's modules and are trained by the same trainer; a scheme is what a query's and a
candidate's vectors are made of: `query(model, asked)`, `candidate(states_GQH)`, and `dim`, the numbers of a
candidate's vector. Scores are those of `facap.model.matching.scores`.

- "multi_head": the paper's, see `facap.model.matching`.
- "anchored": the same candidates; a query starts at the sum of picture and text, which BLIP-2 has aligned,
  and learns what reading both together adds. Ours, and the default.
- "mean": one vector a side, the mean of the projected query tokens (CoVR-2, Ventura et al. 2024).
- "best_token": a query is one sentence token, which is read after the query tokens of picture and text have
  been put before the text once more; a candidate keeps its query tokens, and the best of them counts (SPRC,
  Bai et al. 2024). SPRC's second, aligning loss is left out.
- "combiner": picture and text are embedded apart, and a small network joins them (CLIP4Cir, Baldrati et al.
  2022); "sum": the network is a plain sum, "text_only" and "image_only": one of the two alone.

Shapes: B queries, G candidates, N patches + 1, E encoder channels, L text tokens, Q query tokens, H Q-Former
channels, P channels of BLIP-2's projections (256 in the published checkpoints).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from facap.model.config import FashionBlip2Config
from facap.model.matching import Matching, flatten, unit

if TYPE_CHECKING:
    from facap.model.fashionblip2 import FashionBlip2


class Asked(NamedTuple):
    """What B queries are made of."""

    image_BNE: torch.Tensor  # states of the references
    ids_BL: torch.Tensor
    mask_BL: torch.Tensor
    alone_BQH: torch.Tensor | None  # candidate states of the references, for a scheme that is `apart`


def build_scheme(base: Any, config: FashionBlip2Config) -> nn.Module:
    """The scheme that the settings name, started from the base's own projections."""
    if config.matching == "multi_head":
        return MultiHead(base, config)
    if config.matching == "anchored":
        return Anchored(base, config)
    if config.matching == "mean":
        return Mean(base)
    if config.matching == "best_token":
        return BestToken(base)
    return Composed(base, config.matching)


class MultiHead(Matching):
    """The paper's: n_t vectors of d_c channels in one row, as `flatten` puts them."""

    apart = False

    def __init__(self, base: Any, config: FashionBlip2Config) -> None:
        super().__init__(
            num_queries=base.config.num_query_tokens,
            query_dim=base.config.qformer_config.hidden_size,
            num_tokens=config.num_match_tokens,
            dim=config.match_dim,
            mixer=config.mixer,
        )
        self.start_from(base.vision_projection)
        self.dim = config.num_match_tokens * config.match_dim

    def query(self, model: "FashionBlip2", asked: Asked) -> torch.Tensor:
        return flatten(self(model.query_states(asked.image_BNE, asked.ids_BL, asked.mask_BL)))

    def candidate(self, states_GQH: torch.Tensor) -> torch.Tensor:
        return flatten(self(states_GQH))


class Anchored(MultiHead):
    """Row t of a query: (1 - s_t) picture_t + s_t text + A(both_t), at unit length.

    picture_t is the row that the reference would have as a candidate, `text` the text's [CLS] in the same
    channels, both_t the t-th mixture of the query tokens that read picture and text together. The share s_t
    is learnt of both_t and starts at a half, A at zero: so training starts at BLIP-2's own sum. The form is
    that of CLIP4Cir's combiner, for each match token, with joint reading where that has a network.
    """

    apart = True

    def __init__(self, base: Any, config: FashionBlip2Config) -> None:
        super().__init__(base, config)
        width, dim = base.config.qformer_config.hidden_size, config.match_dim
        self.text, self.addition = (nn.Linear(width, dim) for _ in range(2))
        self.share = nn.Linear(width, 1)
        for linear in (self.text, self.share, self.addition):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        kept_KP = self.start_from(base.vision_projection)
        with torch.no_grad():
            self.text.weight[: len(kept_KP)] = kept_KP @ base.text_projection.weight
            self.text.bias[: len(kept_KP)] = kept_KP @ base.text_projection.bias

    def query(self, model: "FashionBlip2", asked: Asked) -> torch.Tensor:
        assert asked.alone_BQH is not None
        both_BTH = self.mix(model.query_states(asked.image_BNE, asked.ids_BL, asked.mask_BL))
        text_B1C = unit(self.text(model.text_state(asked.ids_BL, asked.mask_BL))).unsqueeze(1)
        share_BT1 = torch.sigmoid(self.share(both_BTH))
        rows_BTC = torch.lerp(self(asked.alone_BQH), text_B1C, share_BT1.to(text_B1C.dtype))
        return flatten(unit(rows_BTC + self.addition(both_BTH)))


class Mean(nn.Module):
    """The mean of the query tokens, as BLIP-2's image projection shows them; P channels."""

    apart = False

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.vision_projection = base.vision_projection
        self.dim = self.vision_projection.out_features

    def query(self, model: "FashionBlip2", asked: Asked) -> torch.Tensor:
        return self.candidate(model.query_states(asked.image_BNE, asked.ids_BL, asked.mask_BL))

    def candidate(self, states_GQH: torch.Tensor) -> torch.Tensor:
        tokens_GQP = unit(self.vision_projection(states_GQH))
        return unit(tokens_GQP.mean(dim=1))


class BestToken(nn.Module):
    """A sentence token against each of a candidate's query tokens; P and Q * P channels."""

    apart = False

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.vision_projection, self.text_projection = base.vision_projection, base.text_projection
        self.dim = base.config.num_query_tokens * self.vision_projection.out_features

    def query(self, model: "FashionBlip2", asked: Asked) -> torch.Tensor:
        prompt_BQH = model.query_states(asked.image_BNE, asked.ids_BL, asked.mask_BL)
        sentence_BH = model.text_state(asked.ids_BL, asked.mask_BL, prompt_BQH)
        return unit(self.text_projection(sentence_BH))

    def candidate(self, states_GQH: torch.Tensor) -> torch.Tensor:
        return unit(self.vision_projection(states_GQH)).flatten(1)


class Composed(Mean):
    """Picture and text embedded apart as BLIP-2 does, and joined; P channels. Starts at their sum."""

    def __init__(self, base: Any, kind: str) -> None:
        super().__init__(base)
        self.kind = kind
        self.apart = kind != "text_only"
        if kind != "image_only":
            self.text_projection = base.text_projection
        if kind == "combiner":
            self.combiner = Combiner(self.dim)

    def query(self, model: "FashionBlip2", asked: Asked) -> torch.Tensor:
        if asked.alone_BQH is not None and self.kind == "image_only":
            return self.candidate(asked.alone_BQH)
        text_BP = unit(self.text_projection(model.text_state(asked.ids_BL, asked.mask_BL)))
        if asked.alone_BQH is None:
            return text_BP
        image_BP = self.candidate(asked.alone_BQH)
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
