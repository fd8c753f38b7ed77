"""Draws garments, trains the tiny models, measures them on held-out garments and writes their cards.

pictures -> attributes (encoder, Q-Former) -> captioner (language model)
                                           -> retrieval (text side)
pairs, as captions and as tags -> writer
"""

import json
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    LlamaForCausalLM,
)

from facap.catalog import wording
from facap.model import tiny
from facap.progress import Progress
from facap.tiny import attributes, captioner, retrieval, writer
from facap.tiny.attributes import AttributeHeads
from facap.tiny.card import card
from facap.tiny.config import TinyConfig
from facap.tiny.pictures import Drawn, draw, joined
from facap.tiny.samples import PROMPTS, corpus

CORPUS_SIZE = 20_000  # pairs whose texts make the vocabulary; all words occur in a tenth of them
HELD_OUT_SEED = 900
Figures = dict[str, float]


def run(config: TinyConfig, progress: Progress) -> dict[str, Figures]:
    """Trains and writes `config.models` to `config.out`; returns accuracy by model."""
    torch.set_num_threads(config.processes)
    torch.manual_seed(config.seed)
    out = Path(config.out)
    measured: dict[str, Figures] = {}
    if {"tiny-captioner", "tiny-retrieval"} & set(config.models):
        measured |= _seeing(config, out, progress)
    if "tiny-writer" in config.models:
        measured["tiny-writer"] = _writer(config, out)
    for name in config.models:
        (out / name / "README.md").write_text(card(name, config, measured))
    progress.say(json.dumps(measured))
    return measured


def _seeing(config: TinyConfig, out: Path, progress: Progress) -> dict[str, Figures]:
    """The two models that look at pictures, after their encoder and Q-Former; accuracy of all."""
    progress.say(f"drawing {config.pictures + config.sharp_pictures + config.held_out:,} pictures")
    processes = config.processes
    parts = [draw(config.pictures, 128, config.seed + 1, processes=processes)]
    if config.sharp_pictures:
        parts.append(draw(config.sharp_pictures, 256, config.seed + 2, processes=processes))
    drawn, held = joined(parts), draw(config.held_out, 256, HELD_OUT_SEED, held_out=True, processes=processes)
    if config.start_from:
        folder = Path(config.start_from) / "tiny-retrieval"
        reading = AutoTokenizer.from_pretrained(folder)
        base = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32)
    else:
        reading = tiny.build_tokenizer(corpus(config.seed, CORPUS_SIZE))
        base = tiny.build_retrieval(len(reading))
    base.set_attn_implementation("eager")  # quicker than fused attention in bfloat16 on this few tokens
    heads = AttributeHeads(base)
    if config.start_from:
        earlier = Blip2ForConditionalGeneration.from_pretrained(
            Path(config.start_from) / "tiny-captioner", dtype=torch.float32
        )
        captioner.share_encoder(earlier, base)
        attributes.fit_heads(heads, drawn, config.seed)
    size, seed = config.batch_size, config.seed
    attributes.train(heads, drawn, config.attribute_steps, size, seed, config.learning_rate)
    measured = {"attributes": attributes.accuracy(heads, held)}
    if "tiny-captioner" in config.models:
        measured["tiny-captioner"] = _captioner(config, base, drawn, held, out)
    if "tiny-retrieval" in config.models:
        features = retrieval.image_features(base, drawn.pixels)
        truth = attributes.truth_of(drawn)
        steps, scale = config.retrieval_steps, config.learning_rate
        retrieval.train(base, heads, reading, features, drawn.garments, truth, steps, size, seed, scale)
        captions = [wording.caption(garment) for garment in held.garments]
        found = retrieval.recall_at_10(base, reading, held.pixels, captions)
        measured["tiny-retrieval"] = {
            "caption_to_picture_recall_at_10": found,
            "captions_told_from_variants": retrieval.told_apart(base, reading, held.pixels, held.garments),
        }
        tiny.save(base, tiny.build_processor(reading), out / "tiny-retrieval")
    return measured


def _captioner(
    config: TinyConfig, base: Blip2ForImageTextRetrieval, drawn: Drawn, held: Drawn, out: Path
) -> Figures:
    if config.start_from:
        folder = Path(config.start_from) / "tiny-captioner"
        telling = AutoTokenizer.from_pretrained(folder)
        teller = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    else:
        said = [text for garment in drawn.garments for text in captioner.texts_of(garment).values()]
        telling = tiny.build_speaker_tokenizer([tiny.CAPTION_PROMPT, tiny.ATTRIBUTES_PROMPT, *said])
        teller = tiny.build_captioner(telling)
    captioner.share_encoder(base, teller)
    told = captioner.query_outputs(teller, drawn.pixels)
    steps, size, scale = config.captioner_steps, config.batch_size, config.learning_rate
    captioner.train(teller, telling, told, drawn.garments, steps, size, config.seed, scale)
    measured = captioner.measure(teller, telling, held.pixels, held.garments)
    tiny.save(teller, tiny.build_processor(telling), out / "tiny-captioner")
    return measured


def _writer(config: TinyConfig, out: Path) -> Figures:
    if config.start_from:
        folder = Path(config.start_from) / "tiny-writer"
        speaking = AutoTokenizer.from_pretrained(folder)
        scribe = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    else:
        speaking = tiny.build_tokenizer(corpus(config.seed, CORPUS_SIZE), add_special=False)
        scribe = tiny.build_writer(speaking)
    scribe.set_attn_implementation("eager")
    writer.train(
        scribe, speaking, config.writer_steps, config.batch_size, config.seed,
        config.material_share, config.learning_rate,
    )  # fmt: skip
    measured: Figures = {}
    for told_by, prompt in PROMPTS.items():
        found = writer.accuracy(
            lambda prompts: writer.generate(scribe, speaking, prompts), prompt, HELD_OUT_SEED, config.held_out
        )
        measured |= {f"{name} from {told_by}": share for name, share in found.items()}
    tiny.save(scribe, speaking, out / "tiny-writer")
    return measured
