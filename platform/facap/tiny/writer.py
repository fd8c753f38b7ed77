"""Trains the modification writer: two captions in, or two lists of tags, the sentence between them out.

The loss counts the sentence only, not the prompt. The prompt names the style, so that there is one right
sentence: with phrasings at random the most likely one stops early, and greedy decoding finds it. Captions and
tags are taught equally, so that what captions gain can be measured (benchmarks/annotate.py).
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, cast

import torch
from torch.nn.functional import normalize
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from facap.catalog import wording
from facap.catalog.garments import ATTRIBUTES, changes
from facap.catalog.wording import STYLES
from facap.tiny.samples import PROMPTS, PromptOf, pairs
from facap.tiny.schedule import Trainer

IGNORED = -100  # the label that cross-entropy leaves out
ALIKE = 0.8  # mean cosine from which on an attribute's words are no longer told from one another


@torch.no_grad()
def push_apart(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Adds a random vector of their mean length to words of one attribute that have become alike.

    Embeddings are tied to the output layer: words that cannot be predicted yet are pulled together there, and
    what is the same cannot be told apart in the prompt either, so the loss stays where it is. Returns the
    attributes.
    """
    weight = model.get_input_embeddings().weight
    found = []
    for name, values in ATTRIBUTES.items():
        split = [tokenizer(value)["input_ids"] for value in values]
        ids = sorted({word[0] for word in split if len(word) == 1} - {tokenizer.unk_token_id})
        if len(ids) < 2:
            continue
        directions = normalize(weight[ids].float(), dim=-1)
        alike = (directions @ directions.T).fill_diagonal_(0).sum() / (len(ids) * (len(ids) - 1))
        if alike > ALIKE:
            length = weight[ids].norm(dim=-1).mean()
            weight[ids] += length * normalize(torch.randn_like(weight[ids]), dim=-1)
            found.append(name)
    return found


def batch(
    tokenizer: PreTrainedTokenizerFast, prompts: list[str], texts: list[str]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and labels, B x L each; labels cover the texts and the end token."""
    rows, labels = [], []
    for prompt, text in zip(prompts, texts, strict=True):
        head, tail = tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"]
        tail = [*tail, tokenizer.eos_token_id]
        rows.append(torch.tensor(head + tail))
        labels.append(torch.tensor([IGNORED] * len(head) + tail))
    pad = torch.nn.utils.rnn.pad_sequence
    ids_BL = pad(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    labels_BL = pad(labels, batch_first=True, padding_value=IGNORED)
    mask_BL = pad([torch.ones_like(r) for r in rows], batch_first=True)
    return ids_BL, mask_BL, labels_BL


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    batch_size: int,
    seed: int,
    material: float,
    scale: float = 1.0,
) -> None:
    """Trains `model` in place for `steps` batches of fresh pairs, half told by captions and half by tags."""
    torch.manual_seed(seed)
    if found := push_apart(model, tokenizer):
        print(f"writer: pushed apart the words of {', '.join(found)}", flush=True)
    stream = pairs(seed, material=material)
    trainer = Trainer("writer", model, steps, scale)
    told_by = list(PROMPTS.values())
    model.train()
    for _ in range(steps):
        chosen = list(islice(stream, batch_size))
        styles = [STYLES[i % len(STYLES)] for i in range(batch_size)]
        prompts = [
            told_by[i % len(told_by)](a, b, style)
            for i, ((a, b), style) in enumerate(zip(chosen, styles, strict=True))
        ]
        texts = [wording.modification(a, b, style) for (a, b), style in zip(chosen, styles, strict=True)]
        ids_BL, mask_BL, labels_BL = batch(tokenizer, prompts, texts)
        trainer.update(model(input_ids=ids_BL, attention_mask=mask_BL, labels=labels_BL).loss)
    trainer.finish()


def accuracy(
    write: Callable[[list[str]], list[str]], prompt: PromptOf, seed: int, num_pairs: int
) -> dict[str, float]:
    """How good `write` (prompts -> texts) is on held-out pairs told of by `prompt`, as shares of the pairs.

    `names_all`: every changed attribute is named with its new value; `no_false`: no new value that
    is named is false, and no old one. The text is judged by the claims read out of it.
    """
    chosen = list(islice(pairs(seed, held_out=True), num_pairs))
    styles = [STYLES[i % len(STYLES)] for i in range(num_pairs)]
    texts = write([prompt(a, b, style) for (a, b), style in zip(chosen, styles, strict=True)])
    names_all = no_false = 0
    for (reference, target), text in zip(chosen, texts, strict=True):
        wanted, said = changes(reference, target), wording.modification_claims(text)
        names_all += all(said.get(k) == v for k, v in wanted.items())
        old = wording.replaced(text)
        no_false += wanted.items() >= said.items() and reference.attributes().items() >= old.items()
    return {"names_all": names_all / num_pairs, "no_false": no_false / num_pairs}


@torch.inference_mode()
def generate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    temperature: float = 0.0,
    batch_size: int = 100,
) -> list[str]:
    """What `model` writes after each prompt, greedily or at a temperature."""
    texts = []
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    for start in range(0, len(prompts), batch_size):
        inputs = tokenizer(
            prompts[start : start + batch_size],
            return_tensors="pt",
            padding=True,
            return_token_type_ids=False,
        )
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        out = cast(Any, model).generate(**inputs, max_new_tokens=64, **sampling)
        texts += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    tokenizer.padding_side = side
    return texts
