"""The embedded models' architectures: a captioner, a writer and a retrieval BLIP-2, all under 5 M parameters.

The captioner and the retrieval model share one vision encoder and the Q-Former's query side: the
same configs give the same shapes, so weights copy over by name. Retrieval model and writer read words
(WordPiece; those outside the vocabulary fall apart into letters); the captioner has a byte-level BPE, since
it writes JSON as well, which has to come out to the letter.

    >>> tokenizer = build_tokenizer(["a navy dress"])
    >>> model = build_retrieval(len(tokenizer))
    >>> model.vision_model.config.image_size
    128
"""

import string
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    BlipImageProcessorPil,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    PreTrainedTokenizerFast,
)

from facap.model.preprocess import MEAN, STD

IMAGE_PX, PATCH_PX = 128, 16
HIDDEN, HEADS = 192, 6  # 6 heads of 32, the smallest head size that vLLM's CPU attention has
NUM_QUERY_TOKENS = 16
WRITER_HIDDEN = 128
IMAGE_TEXT_DIM = 128
PAD, UNK, CLS, SEP, IMAGE = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>"
CAPTION_PROMPT, ATTRIBUTES_PROMPT = "a picture of", "the attributes of"
SPEAKER_VOCABULARY = 640
WRITER_PROMPT = "reference : {reference_caption} target : {target_caption} {style} :"


def build_tokenizer(texts: Iterable[str], add_special: bool = True) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that knows every word of `texts` and every printable letter.

    `add_special`: wrap texts in [CLS] ... [SEP], as the Q-Former wants; without it nothing is
    added, as the language models want ([SEP] is then their end of text).
    """
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [PAD, UNK, CLS, SEP, IMAGE, *letters, *("##" + letter for letter in letters)]
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token=UNK))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[,.:;!?()\"']"), "isolated"),
        ]
    )
    words: set[str] = set()
    for text in texts:
        normal = backend.normalizer.normalize_str(text)
        words |= {word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal)}
    vocabulary = pieces + sorted(words - set(pieces))
    backend.model = models.WordPiece(
        {p: i for i, p in enumerate(vocabulary)}, unk_token=UNK, max_input_chars_per_word=40
    )
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    if add_special:
        pairs = [(CLS, vocabulary.index(CLS)), (SEP, vocabulary.index(SEP))]
        backend.post_processor = processors.TemplateProcessing(f"{CLS} $A {SEP}", None, pairs)
    special = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP}
    ends = {} if add_special else {"bos_token": CLS, "eos_token": SEP}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=512,
        padding_side="right",
        additional_special_tokens=[IMAGE],
        **special,
        **ends,
    )


def build_speaker_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """The captioner's byte-level BPE: every text comes back to the letter. [SEP] ends a text."""
    special = [PAD, UNK, CLS, SEP, IMAGE]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SPEAKER_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=512,
        padding_side="right",
        additional_special_tokens=[IMAGE],
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        bos_token=CLS,
        eos_token=SEP,
        clean_up_tokenization_spaces=False,
    )


def _vision_config() -> dict:
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": 3 * HIDDEN,
        "num_hidden_layers": 6,
        "num_attention_heads": HEADS,
        "image_size": IMAGE_PX,
        "patch_size": PATCH_PX,
        "initializer_range": 0.02,
    }


def _qformer_config(vocab_size: int, with_text: bool) -> dict:
    return {
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 4,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * HIDDEN,
        "cross_attention_frequency": 2,
        "encoder_hidden_size": HIDDEN,
        "max_position_embeddings": 96,
        "use_qformer_text_input": with_text,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 0,
    }


def build_captioner(tokenizer: PreTrainedTokenizerFast) -> Blip2ForConditionalGeneration:
    """The captioner with fresh weights; its language model is a 3-layer OPT."""
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    text = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        word_embed_proj_dim=HIDDEN,
        ffn_dim=4 * HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        max_position_embeddings=160,
        dropout=0.0,
        pad_token_id=0,
        **ends,
    )
    config = Blip2Config(
        vision_config=_vision_config(),
        qformer_config=_qformer_config(len(tokenizer), with_text=False),
        text_config=text.to_dict(),
        num_query_tokens=NUM_QUERY_TOKENS,
        image_token_index=tokenizer.get_vocab()[IMAGE],
    )
    model = Blip2ForConditionalGeneration(config).float()
    model.generation_config.eos_token_id = tokenizer.sep_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def build_writer(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The modification writer with fresh weights: a 4-layer Llama."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WRITER_HIDDEN,
        intermediate_size=3 * WRITER_HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=WRITER_HIDDEN // 32,
        num_key_value_heads=WRITER_HIDDEN // 32,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).float()


def build_retrieval(vocab_size: int) -> Blip2ForImageTextRetrieval:
    """The retrieval model with fresh weights: image and text through one Q-Former."""
    config = Blip2Config(
        vision_config=_vision_config(),
        qformer_config=_qformer_config(vocab_size, with_text=True),
        num_query_tokens=NUM_QUERY_TOKENS,
        image_text_hidden_size=IMAGE_TEXT_DIM,
    )
    return Blip2ForImageTextRetrieval(config).float()


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Blip2Processor:
    """The processor of the captioner and the retrieval model: square pictures, BLIP-2 statistics."""
    images = BlipImageProcessorPil(
        size={"height": IMAGE_PX, "width": IMAGE_PX}, image_mean=list(MEAN), image_std=list(STD)
    )
    return Blip2Processor(images, tokenizer, num_query_tokens=NUM_QUERY_TOKENS)


def save(model: torch.nn.Module, processor: Blip2Processor | PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes weights as float16 safetensors (half the size; they are used in float32) and the processor."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder, max_shard_size="6MB")  # type: ignore[operator]
    model.float()
    processor.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)  # what vLLM does; fails here rather than there
