"""Trains the captioner's language model on what the frozen encoder and Q-Former see.

The query outputs are computed once per picture; the language model then learns to say them. They
name the attributes already, so this is quick.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from transformers import Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval, PreTrainedTokenizerFast

from facap.annotate import structured, taxonomy
from facap.catalog import wording
from facap.catalog.garments import Garment
from facap.model.preprocess import normalise
from facap.model.tiny import ATTRIBUTES_PROMPT, CAPTION_PROMPT
from facap.schemas import OK
from facap.tiny.schedule import DTYPE, Trainer
from facap.tiny.writer import IGNORED


def share_encoder(
    source: Blip2ForConditionalGeneration | Blip2ForImageTextRetrieval,
    target: Blip2ForConditionalGeneration | Blip2ForImageTextRetrieval,
) -> None:
    """Copies the vision encoder, the query tokens and the Q-Former's query side of one model to another."""
    weights, own = source.state_dict(), target.state_dict()
    parts = ("vision_model.", "qformer.", "query_tokens")
    shared = {key: weights[key] for key in own if key in weights and key.startswith(parts)}
    wanted = {key for key in own if key.startswith(parts)} & {key for key in weights if key.startswith(parts)}
    assert wanted == set(shared), sorted(wanted ^ set(shared))[:5]
    target.load_state_dict(shared, strict=False)


@torch.inference_mode()
def query_outputs(model: Blip2ForConditionalGeneration, pixels: np.ndarray) -> torch.Tensor:
    """What the Q-Former hands to the language model, N x query tokens x width, float32."""
    parts = []
    for start in range(0, len(pixels), 128):
        inputs = normalise(pixels[start : start + 128]).to(model.query_tokens.dtype)
        image = model.vision_model(pixel_values=inputs).last_hidden_state
        queries = model.query_tokens.expand(len(image), -1, -1)
        parts.append(model.qformer(query_embeds=queries, encoder_hidden_states=image).last_hidden_state)
    return torch.cat(parts)


def texts_of(garment: Garment) -> dict[str, str]:
    """Prompt -> what the captioner is taught to say of a garment: a caption, and the same as JSON."""
    caption = wording.caption(garment)
    return {CAPTION_PROMPT: " " + caption, ATTRIBUTES_PROMPT: structured.answer_of(caption, taxonomy.load())}


def train(
    model: Blip2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    queries_NQD: torch.Tensor,
    garments: list[Garment],
    steps: int,
    batch_size: int,
    seed: int,
    scale: float = 1.0,
) -> None:
    """Trains the projection and the language model in place, half of each batch a prompt; the rest stays."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    speaker = torch.nn.ModuleDict({"project": model.language_projection, "lm": model.language_model})
    trainer = Trainer("captioner", speaker, steps, scale)
    speaker.train()
    for _ in range(steps):
        rows = rng.integers(0, len(queries_NQD), max(2, batch_size))
        loss = torch.zeros(())
        for prompt, part in zip((CAPTION_PROMPT, ATTRIBUTES_PROMPT), np.array_split(rows, 2), strict=True):
            texts = [texts_of(garments[i])[prompt] for i in part]
            loss = loss + _loss(model, tokenizer, queries_NQD[part], prompt, texts).float() / 2
        trainer.update(loss)
    trainer.finish()


def _loss(
    model: Blip2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    queries_BQD: torch.Tensor,
    prompt: str,
    texts: list[str],
) -> torch.Tensor:
    """Cross-entropy of the texts, each said of its picture after `prompt`."""
    asked = tokenizer(prompt)["input_ids"]
    said = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    full = [torch.tensor([*asked, *ids]) for ids in said]
    labels = [torch.tensor([IGNORED] * len(asked) + ids) for ids in said]
    ids_BL = pad(full, batch_first=True, padding_value=tokenizer.pad_token_id)
    labels_BL = pad(labels, batch_first=True, padding_value=IGNORED)
    prefix_BQD = model.language_projection(queries_BQD.to(DTYPE))
    inputs = torch.cat([prefix_BQD, model.language_model.get_input_embeddings()(ids_BL)], 1)
    silent = torch.full(prefix_BQD.shape[:2], IGNORED)
    return model.language_model(inputs_embeds=inputs, labels=torch.cat([silent, labels_BL], 1)).loss


@torch.inference_mode()
def generate(
    model: Blip2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pixels: np.ndarray,
    prompt: str = CAPTION_PROMPT,
) -> list[str]:
    """Greedy answers to `prompt` about uint8 pictures, N x 128 x 128 x 3."""
    image = torch.tensor([[model.config.image_token_index] * model.config.num_query_tokens])
    ids = torch.cat([image, torch.tensor([tokenizer(prompt)["input_ids"]])], 1)
    texts = []
    for start in range(0, len(pixels), 100):
        images = normalise(pixels[start : start + 100])
        ids_BL = ids.expand(len(images), -1)
        mask_BL = torch.ones_like(ids_BL)
        inputs: dict[str, Any] = {"pixel_values": images, "input_ids": ids_BL, "attention_mask": mask_BL}
        out = model.generate(**inputs, max_new_tokens=112, do_sample=False)
        new = out[:, ids.shape[1] :] if out.shape[1] > ids.shape[1] else out
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts


def measure(
    model: Blip2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pixels: np.ndarray,
    garments: list[Garment],
) -> dict[str, float]:
    """How faithful captions are, and answers as JSON: the share that is valid, and what these state."""
    figures = faithfulness(generate(model, tokenizer, pixels), garments)
    answers = generate(model, tokenizer, pixels, ATTRIBUTES_PROMPT)
    words = taxonomy.load()
    parsed = [structured.parse(answer, words=words) for answer in answers]
    truth = [words.attributes(wording.caption(garment)) for garment in garments]
    stated = [answer.attributes.items() for answer in parsed]
    right = sum(len(s & t.items()) for s, t in zip(stated, truth, strict=True))
    return figures | {
        "json_valid": sum(answer.status == OK for answer in parsed) / len(parsed),
        "json_precision": right / max(1, sum(map(len, stated))),
        "json_recall": right / max(1, sum(map(len, truth))),
    }


def faithfulness(texts: Iterable[str], garments: Iterable[Garment]) -> dict[str, float]:
    """Precision: true of what is stated; recall: stated of what is true; exact: both are 1."""
    stated = true = wanted = exact = count = 0
    for text, garment in zip(texts, garments, strict=True):
        claims, truth = wording.caption_claims(text), wording.caption_claims(wording.caption(garment))
        right = sum(truth.get(name) == value for name, value in claims.items())
        stated, true, wanted = stated + len(claims), true + right, wanted + len(truth)
        exact, count = exact + (claims == truth), count + 1
    return {
        "precision": true / max(1, stated),
        "recall": true / max(1, wanted),
        "exact": exact / max(1, count),
    }
