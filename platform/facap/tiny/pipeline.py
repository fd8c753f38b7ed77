"""Draws garments, trains the three tiny models, measures them on held-out garments and writes their cards.

pictures -> attributes (encoder, Q-Former) -> captioner (language model)
                                           -> retrieval (text side)
pairs of captions -> writer
"""

import json
from pathlib import Path

import numpy as np
import torch

from facap.catalog import wording
from facap.model import tiny
from facap.progress import Progress
from facap.tiny import attributes, captioner, retrieval, writer
from facap.tiny.card import card
from facap.tiny.config import TinyConfig
from facap.tiny.pictures import draw
from facap.tiny.samples import corpus

CORPUS_SIZE = 20_000  # pairs whose texts make the vocabulary; all words occur in a tenth of them
HELD_OUT_SEED = 900


def run(config: TinyConfig, progress: Progress) -> dict[str, dict[str, float]]:
    """Trains and writes all three models to `config.out`; returns accuracy by model."""
    torch.set_num_threads(config.processes)
    torch.manual_seed(config.seed)
    texts = list(corpus(config.seed, CORPUS_SIZE))
    speaking, reading = tiny.build_tokenizer(texts, add_special=False), tiny.build_tokenizer(texts)
    progress.say(f"drawing {config.pictures + config.sharp_pictures + config.held_out:,} pictures")
    small = draw(config.pictures, 128, config.seed + 1, processes=config.processes)
    sharp = draw(max(1, config.sharp_pictures), 256, config.seed + 2, processes=config.processes)
    held_pixels, held = draw(config.held_out, 256, HELD_OUT_SEED, held_out=True, processes=config.processes)
    pixels, garments = np.concatenate([small[0], sharp[0]]), small[1] + sharp[1]
    truth = attributes.labels([g.attributes() for g in garments])

    base = tiny.build_retrieval(len(reading))
    base.set_attn_implementation("eager")  # quicker than fused attention in bfloat16 on this few tokens
    heads = attributes.AttributeHeads(base)
    attributes.train(heads, pixels, truth, config.attribute_steps, config.batch_size, config.seed)
    measured = {"attributes": attributes.accuracy(heads, held_pixels, _labels(held))}

    size = config.batch_size
    said = [text for garment in garments for text in captioner.texts_of(garment).values()]
    telling = tiny.build_speaker_tokenizer([tiny.CAPTION_PROMPT, tiny.ATTRIBUTES_PROMPT, *said])
    teller = tiny.build_captioner(telling)
    captioner.share_encoder(teller, base)
    told = captioner.query_outputs(teller, pixels)
    captioner.train(teller, telling, told, garments, config.captioner_steps, size, config.seed)
    measured["tiny-captioner"] = captioner.measure(teller, telling, held_pixels, held)

    features = retrieval.image_features(base, pixels)
    steps = config.retrieval_steps
    retrieval.train(base, heads, reading, features, garments, truth, steps, size, config.seed)
    captions = [wording.caption(g) for g in held]
    found = retrieval.recall_at_10(base, reading, held_pixels, captions)
    measured["tiny-retrieval"] = {"caption_to_picture_recall_at_10": found}

    scribe = tiny.build_writer(speaking)
    scribe.set_attn_implementation("eager")
    writer.train(scribe, speaking, config.writer_steps, size, config.seed)
    measured["tiny-writer"] = writer.accuracy(
        lambda prompts: writer.generate(scribe, speaking, prompts), HELD_OUT_SEED, config.held_out
    )

    out = Path(config.out)
    tiny.save(base, tiny.build_processor(reading), out / "tiny-retrieval")
    tiny.save(teller, tiny.build_processor(telling), out / "tiny-captioner")
    tiny.save(scribe, speaking, out / "tiny-writer")
    for name in ("tiny-retrieval", "tiny-captioner", "tiny-writer"):
        (out / name / "README.md").write_text(card(name, config, measured))
    progress.say(json.dumps(measured))
    return measured


def _labels(garments: list) -> torch.Tensor:
    return attributes.labels([garment.attributes() for garment in garments])
