"""Training samples of the tiny models: garments, their words, and pairs of them.

Everything is drawn from a seeded `random.Random`, so equal seeds give equal samples. Held-out
garments are told from training ones by a hash of their attributes: no garment is ever in both.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from facap.annotate import prompts, taxonomy
from facap.catalog import wording
from facap.catalog.garments import ATTRIBUTES, Garment, sample_garment, sample_variant
from facap.model.tiny import CAPTION_PROMPT, WRITER_PROMPT

HELD_OUT_SHARE = 0.1

PromptOf = Callable[[Garment, Garment, str], str]  # reference, target, style -> what a writer is given

# Words that shoppers use and the captions do not, so that they are words to the tokenizer too.
EVERYDAY_WORDS = (
    "a an the and or but with without in of to for same like this that these one it its is are be "
    "make change give remove add drop swap turn switch more less no not instead similar version "
    "style colour color look want show me find sleeveless sleeved belted hooded collared zipped "
    "buttoned zip-up button-up striped stripes checked checks plaid dotted dots polka-dot polka "
    "floral flowers flower flowery chevron zigzag diamond diamonds argyle colour-block plain solid "
    "patterned pattern print printed shorter longer tighter looser wider slimmer short long mini "
    "midi knee knee-length maxi ankle-length cropped hip-length coat tunic tight fitted slim loose "
    "oversized wide flared a-line straight light dark bright pale gray grey red wine crimson cotton "
    "denim jeans jean leather satin silky silk knit knitted wool woolly hood collar collars lapels "
    "v-neck turtleneck roll-neck crew round square high neck neckline sleeve sleeves puff puffed "
    "puffy ruffle ruffles ruffled bow fringe fringed fringes pocket pockets belt button buttons zip "
    "zipper skirt pants trousers dress jacket coat top shirt blouse outfit shorts bottom bottoms"
)


def is_held_out(garment: Garment) -> bool:
    """Whether a garment belongs to the held-out tenth; depends on its attributes alone."""
    digest = hashlib.sha256(repr(garment).encode()).digest()
    return digest[0] < 256 * HELD_OUT_SHARE


def garments(seed: int, held_out: bool = False) -> Iterator[Garment]:
    """An endless seeded stream of garments, all of the training part or all held out."""
    rng = random.Random(seed)
    while True:
        garment = sample_garment(rng)
        if is_held_out(garment) == held_out:
            yield garment


def pairs(seed: int, held_out: bool = False, material: float = 0.0) -> Iterator[tuple[Garment, Garment]]:
    """An endless stream of (reference, target) with one to about five differences.

    Both garments are of the same part, so held-out pairs share no garment with training. `material`:
    the share of pairs in which the material changes on purpose; left to chance it changes in one of
    six, and the writer learnt every attribute but this one.
    """
    rng = random.Random(seed + 1)
    for reference in garments(seed, held_out):
        target = reference
        if rng.random() < material:
            others = [m for m in ATTRIBUTES["material"] if m != reference.material]
            target = replace(reference, material=rng.choice(others))
        if target == reference or rng.random() < 0.7:
            target = sample_variant(rng, target)
        if rng.random() < 0.3:
            target = sample_variant(rng, target)
        if target != reference and is_held_out(target) == held_out:
            yield reference, target


def writer_prompt(reference: Garment, target: Garment, style: str) -> str:
    """What the writer is given: the two captions and one of `wording.STYLES`."""
    return WRITER_PROMPT.format(
        reference_caption=wording.caption(reference), target_caption=wording.caption(target), style=style
    )


def tag_prompt(reference: Garment, target: Garment, style: str) -> str:
    """The same from tags alone, without captions: what the taxonomy reads out of these, and the style."""
    words = taxonomy.load()
    return prompts.load("modify_tags").render(
        reference_attributes=words.attributes(wording.caption(reference)),
        target_attributes=words.attributes(wording.caption(target)),
        style=style,
    )


PROMPTS: dict[str, PromptOf] = {"captions": writer_prompt, "tags": tag_prompt}  # what the writer answers


def corpus(seed: int, size: int) -> Iterator[str]:
    """Texts that together hold every word the models must know."""
    yield from (EVERYDAY_WORDS, CAPTION_PROMPT, wording.UNCHANGED)
    for (reference, target), number in zip(pairs(seed), range(size), strict=False):
        style = wording.STYLES[number % len(wording.STYLES)]
        yield writer_prompt(reference, target, style)
        yield wording.modification(reference, target, style)
