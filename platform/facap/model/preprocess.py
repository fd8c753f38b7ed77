"""The one image and text transform, shared by training, indexing and serving.

Images: pad to an aspect ratio of at most 1.25, resize the shorter side bicubically, crop the centre,
scale with BLIP-2's mean and deviation; PIL in, float32 C x H x W out. Padding and crop follow
CLIP4Cir and SPRC ("TargetPad"). Texts: one line, at most 64 tokens (FACap's run to 44 words).

    >>> transform = ImageTransform(image_px=128)
    >>> transform(PIL.Image.new("RGB", (256, 320))).shape    # doctest: +SKIP
    torch.Size([3, 128, 128])
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

if TYPE_CHECKING:
    import torch

TARGET_RATIO = 1.25
MAX_TEXT_TOKENS = 64
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's statistics, which BLIP-2 uses
STD = (0.26862954, 0.26130258, 0.27577711)


def decode(data: bytes) -> PIL.Image.Image:
    """The RGB picture in `bytes` of an IMAGES row."""
    return PIL.Image.open(io.BytesIO(data)).convert("RGB")


def target_pad(image: PIL.Image.Image, ratio: float = TARGET_RATIO) -> PIL.Image.Image:
    """`image` padded with black so that the longer side is at most `ratio` times the shorter."""
    width, height = image.size
    if max(width, height) <= ratio * min(width, height):
        return image
    short = round(max(width, height) / ratio)
    size = (short, height) if width < height else (width, short)
    padded = PIL.Image.new("RGB", size)
    padded.paste(image, ((size[0] - width) // 2, (size[1] - height) // 2))
    return padded


def square(image: PIL.Image.Image, image_px: int) -> PIL.Image.Image:
    """`image` padded, resized and centre-cropped to image_px x image_px, still a picture."""
    image = target_pad(image.convert("RGB"))
    scale = image_px / min(image.size)
    width, height = (max(image_px, round(side * scale)) for side in image.size)
    image = image.resize((width, height), PIL.Image.Resampling.BICUBIC)
    left, top = (width - image_px) // 2, (height - image_px) // 2
    return image.crop((left, top, left + image_px, top + image_px))


def normalise(pixels_BHWC: np.ndarray) -> "torch.Tensor":
    """uint8 B x H x W x 3 -> float32 B x 3 x H x W with BLIP-2's mean and deviation."""
    import torch  # here: workers that only decode pictures do without its two seconds

    tensor = torch.from_numpy(np.array(pixels_BHWC)).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return tensor.sub_(mean).div_(std)


@dataclass(frozen=True)
class ImageTransform:
    """PIL image -> float32 tensor 3 x image_px x image_px."""

    image_px: int

    def __call__(self, image: PIL.Image.Image) -> "torch.Tensor":
        return normalise(np.asarray(square(image, self.image_px))[None])[0]


def clean_text(text: str) -> str:
    """One line without doubled spaces, as every tokenizer call sees it."""
    return " ".join(text.split())
