"""FashionBLIP-2: BLIP-2's frozen image encoder with adapters, its Q-Former, and multi-head matching.

Built from the modules of Hugging Face's `Blip2ForImageTextRetrieval`, under their names, so published
checkpoints load as they are. The query side runs the Q-Former as BLIP-2's matching head does (query
tokens and text in one sequence), the candidate side as its contrastive head does (query tokens only). What
vectors are made of these is in `facap.model.schemes`.

    >>> model = FashionBlip2.from_base(FashionBlip2Config())                  # doctest: +SKIP
    >>> query_BD = model.embed_query(pixels_BCHW, input_ids_BL, attention_mask_BL)
    >>> candidate_GD = model.embed_candidate(pixels_GCHW)
    >>> score_BG = query_BD @ candidate_GD.T * model.config.num_match_tokens

Shapes: B rows, U distinct images, C x H x W pixels, N patches + 1, E encoder channels, L text tokens,
Q query tokens, H Q-Former channels, T match tokens, D = n_t * d_c.
"""

import math
from typing import Any

import torch
from torch import nn

from facap.errors import ConfigError, ModelMissing
from facap.model.adapters import insert_adapters
from facap.model.checkpoints import resolve
from facap.model.config import FashionBlip2Config
from facap.model.schemes import Asked, build_scheme

TEMPERATURE_START = 0.07  # CLIP's and BLIP-2's
TEMPERATURE_RANGE = (0.01, 0.5)  # of the contrastive softmax; CLIP clamps at 0.01 too


def load_base(base: str) -> Any:
    """The base checkpoint as `Blip2ForImageTextRetrieval`, float32; ModelMissing if it cannot be had."""
    from transformers import Blip2ForImageTextRetrieval
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return Blip2ForImageTextRetrieval.from_pretrained(resolve(base), dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        raise ModelMissing(
            f"base model '{base}' cannot be loaded ({error}); give facap/<name>, a folder or a hub name"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()


class FashionBlip2(nn.Module):
    """One model for both sides: `embed_query` and `embed_candidate` give unit vectors of n_t * d_c."""

    def __init__(self, base: Any, config: FashionBlip2Config) -> None:
        """Takes over the modules of `base`, a Blip2ForImageTextRetrieval."""
        super().__init__()
        positions = base.config.qformer_config.max_position_embeddings
        if config.max_text_tokens > positions:
            raise ConfigError(
                f"max_text_tokens is {config.max_text_tokens}, but base '{config.base}' has only {positions} "
                "positions; lower it"
            )
        self.config = config
        self.architecture = base.config  # of BLIP-2, a Blip2Config
        self.image_px: int = base.config.vision_config.image_size
        self.vision_model = base.vision_model
        self.query_tokens = base.query_tokens
        self.embeddings = base.embeddings
        self.qformer = base.qformer
        self.matching: Any = build_scheme(base, config)
        # One element rather than a scalar: FSDP2 refuses zero-dimensional parameters.
        self.log_temperature = nn.Parameter(torch.tensor([math.log(TEMPERATURE_START)]))
        self.vision_model.requires_grad_(False)
        self.first_adapted = insert_adapters(self.vision_model, config)

    @classmethod
    def from_base(cls, config: FashionBlip2Config) -> "FashionBlip2":
        """A fresh model on the base checkpoint that the config names; it scores as BLIP-2 does."""
        return cls(load_base(config.base), config)

    @property
    def dim(self) -> int:
        """Length of a candidate's vector, n_t * d_c, and of a query's but for the "best_token" scheme."""
        return int(self.matching.dim)

    def trained(self) -> dict[str, torch.Tensor]:
        """What training changes, by name: everything but the frozen image encoder."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def temperature(self) -> torch.Tensor:
        """The contrastive temperature, kept inside TEMPERATURE_RANGE; one element."""
        low, high = TEMPERATURE_RANGE
        return self.log_temperature.clamp(math.log(low), math.log(high)).exp()

    def trunk(self, pixels_UCHW: torch.Tensor) -> torch.Tensor:
        """The part of the image encoder below the first adapter, which no training changes -> UNE."""
        hidden_UNE = self.vision_model.embeddings(pixels_UCHW)
        for layer in self.vision_model.encoder.layers[: self.first_adapted]:
            hidden_UNE = layer(hidden_UNE)
        return hidden_UNE

    def from_trunk(self, hidden_UNE: torch.Tensor) -> torch.Tensor:
        """The rest of the image encoder: adapted blocks and the last norm, UNE -> UNE."""
        for layer in self.vision_model.encoder.layers[self.first_adapted :]:
            hidden_UNE = layer(hidden_UNE)
        return self.vision_model.post_layernorm(hidden_UNE)

    def encode_image(self, pixels_UCHW: torch.Tensor) -> torch.Tensor:
        """Normalised pixels -> image states UNE."""
        return self.from_trunk(self.trunk(pixels_UCHW))

    def query_states(
        self, image_BNE: torch.Tensor, input_ids_BL: torch.Tensor, attention_mask_BL: torch.Tensor
    ) -> torch.Tensor:
        """x_q: the Q-Former's query-token outputs with image and text before it, BQH."""
        tokens_BQH = self.query_tokens.expand(image_BNE.shape[0], -1, -1)
        seen = attention_mask_BL.new_ones(tokens_BQH.shape[:2])
        output = self.qformer(
            query_embeds=self.embeddings(input_ids=input_ids_BL, query_embeds=tokens_BQH),
            query_length=tokens_BQH.shape[1],
            attention_mask=torch.cat([seen, attention_mask_BL], dim=1),
            encoder_hidden_states=image_BNE,
        )
        return output.last_hidden_state[:, : tokens_BQH.shape[1]]

    def candidate_states(self, image_BNE: torch.Tensor) -> torch.Tensor:
        """x_c: the Q-Former's query-token outputs with the image alone before it, BQH."""
        tokens_BQH = self.query_tokens.expand(image_BNE.shape[0], -1, -1)
        return self.qformer(query_embeds=tokens_BQH, encoder_hidden_states=image_BNE).last_hidden_state

    def text_state(
        self,
        input_ids_BL: torch.Tensor,
        attention_mask_BL: torch.Tensor,
        prompt_BQH: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The Q-Former's [CLS] output for the text alone, or with a prompt of Q tokens before it, BH."""
        embedded = self.embeddings(input_ids=input_ids_BL, query_embeds=prompt_BQH)
        place = 0 if prompt_BQH is None else prompt_BQH.shape[1]
        if prompt_BQH is not None:
            seen = attention_mask_BL.new_ones(prompt_BQH.shape[:2])
            attention_mask_BL = torch.cat([seen, attention_mask_BL], dim=1)
        output = self.qformer(query_embeds=embedded, query_length=0, attention_mask=attention_mask_BL)
        return output.last_hidden_state[:, place]

    def embed_query(
        self, pixels_BCHW: torch.Tensor, input_ids_BL: torch.Tensor, attention_mask_BL: torch.Tensor
    ) -> torch.Tensor:
        """Reference image and modification text -> unit vectors BD."""
        return self.query_vectors(self.encode_image(pixels_BCHW), input_ids_BL, attention_mask_BL)

    def embed_candidate(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Catalogue images -> unit vectors BD."""
        return self.candidate_vectors(self.encode_image(pixels_BCHW))

    def query_vectors(
        self, image_BNE: torch.Tensor, input_ids_BL: torch.Tensor, attention_mask_BL: torch.Tensor
    ) -> torch.Tensor:
        """References' image states and modification texts -> unit vectors BD."""
        alone_BQH = self.candidate_states(image_BNE) if self.matching.apart else None
        return self.matching.query(self, Asked(image_BNE, input_ids_BL, attention_mask_BL, alone_BQH))

    def candidate_vectors(self, image_BNE: torch.Tensor) -> torch.Tensor:
        """Catalogue images' states -> unit vectors BD."""
        return self.matching.candidate(self.candidate_states(image_BNE))

    def forward(
        self,
        images: torch.Tensor,
        query_images_B: torch.Tensor,
        candidate_images_G: torch.Tensor,
        input_ids_BL: torch.Tensor,
        attention_mask_BL: torch.Tensor,
        below_trunk: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One pass for training: every distinct image once through the encoder and, apart, the Q-Former.

        `images` are pixels UCHW, or trunk outputs UNE with `below_trunk=False`; the two index
        vectors say which of the U images each query and each candidate shows.
        Returns (query BD, candidate GD, temperature of one element).
        """
        image_UNE = self.from_trunk(self.trunk(images) if below_trunk else images)
        image_BNE = image_UNE[query_images_B]
        if self.matching.apart:
            states_UQH = self.candidate_states(image_UNE)
            states_GQH, alone_BQH = states_UQH[candidate_images_G], states_UQH[query_images_B]
        else:
            states_GQH, alone_BQH = self.candidate_states(image_UNE[candidate_images_G]), None
        query = self.matching.query(self, Asked(image_BNE, input_ids_BL, attention_mask_BL, alone_BQH))
        return query, self.matching.candidate(states_GQH), self.temperature()

    def train(self, mode: bool = True) -> "FashionBlip2":
        """As usual, but the frozen image encoder stays in evaluation mode (no dropout)."""
        super().train(mode)
        self.vision_model.eval()
        return self
