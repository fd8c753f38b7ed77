"""What FashionBLIP-2 with fresh adapters computes, beside Hugging Face's own BLIP-2 on the same inputs.

>>> for ours, theirs in pairs(model, hf, pixels, ids, mask): ...             # doctest: +SKIP
"""

import torch
from torch.nn.functional import normalize
from transformers import Blip2ForImageTextRetrieval

from facap.model.fashionblip2 import FashionBlip2


@torch.inference_mode()
def pairs(
    model: FashionBlip2,
    hf: Blip2ForImageTextRetrieval,
    pixels_BCHW: torch.Tensor,
    ids_BL: torch.Tensor,
    mask_BL: torch.Tensor,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(ours, theirs): image states, what the matching head makes of x_q, the contrastive head of x_c."""
    itm = hf(pixels_BCHW, input_ids=ids_BL, attention_mask=mask_BL, use_image_text_matching_head=True)
    itc = hf(pixels_BCHW, input_ids=ids_BL, attention_mask=mask_BL, use_image_text_matching_head=False)
    image = model.encode_image(pixels_BCHW)
    ours_itm = hf.itm_head(model.query_states(image, ids_BL, mask_BL)).mean(dim=1)
    ours_itc = normalize(hf.vision_projection(model.candidate_states(image)), dim=-1)
    return [
        (image, itm.vision_model_output[0]),
        (ours_itm, itm.logits_per_image),
        (ours_itc, itc.image_embeds),
    ]
