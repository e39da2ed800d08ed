"""CLIP of images and texts: the features that images and their captions are compared by, and the length of prompts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from attar.devices import pick_device
from attar.diffusion import stock
from attar.diffusion.edits.absent import absent
from attar.diffusion.edits.captions import PROMPT_TOKENS

DEFAULT = "openai/clip-vit-base-patch32"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
_BATCH = 64


@final
@dataclass(frozen=True)
class Clip:
    """A CLIP of transformers, in float32; features come back on the CPU and keep their length."""

    model: Any
    tokenizer: Any
    fingerprint: str

    @torch.no_grad()
    def images(self, images: Iterable[UInt8[np.ndarray, "3 _ _"]]) -> Float[Tensor, "n dim"]:
        """Projected embeddings of images, each squashed to the model's square (edits.md 3)."""
        config = self.model.config
        batches = _batches(seen_by_clip(image, config.vision_config.image_size) for image in images)
        found = [_tensor(self.model.get_image_features(torch.stack(batch).to(self.model.device))) for batch in batches]
        return torch.cat(found or [torch.empty(0, config.projection_dim)])

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """Projected embeddings of texts, each cut at 77 tokens."""
        found = []
        for batch in _batches(texts):
            told = self.tokenizer(
                batch, padding=True, truncation=True, max_length=PROMPT_TOKENS + 2, return_tensors="pt"
            )
            found.append(_tensor(self.model.get_text_features(told.input_ids.to(self.model.device))))
        return torch.cat(found or [torch.empty(0, self.model.config.projection_dim)])

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, without the marks of beginning and end."""
        return count_tokens(self.tokenizer, text)

    def truncate(self, text: str, tokens: int = PROMPT_TOKENS) -> str:
        """`text`, or as many of its first words as `tokens` hold."""
        return truncate(self.tokenizer, text, tokens)


def open_clip(name: str = DEFAULT, *, device: str = "auto", allow_download: bool = False) -> Clip:
    """The CLIP in a folder, or of that name on the hub; BackboneError where it isn't on this machine (R1)."""
    library = stock.library("transformers", "EDITS")
    asked: dict[str, Any] = {"absent": absent("CLIP"), "allow_download": allow_download}
    model = stock.load(library.CLIPModel, name, **asked).float().eval().requires_grad_(False)
    tokenizer = stock.load(library.CLIPTokenizer, name, **asked)
    return Clip(model.to(pick_device(device)), tokenizer, stock.fingerprint(stock.folder_of(name) or Path(name)))


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of `text` by CLIP's tokenizer, without the marks of beginning and end."""
    return len(_spans(tokenizer, text))


def truncate(tokenizer: Any, text: str, tokens: int = PROMPT_TOKENS) -> str:
    """`text`, or as many of its first words as `tokens` of CLIP's tokenizer hold; of one long word its beginning."""
    spans = _spans(tokenizer, text)
    if len(spans) <= tokens:
        return text
    cut = text[: spans[tokens - 1][1]]
    inside = not text[len(cut) :][:1].isspace()  # a word; at the end of the text too, where a letter has several tokens
    if inside and " " in cut.strip():
        cut = cut.rpartition(" ")[0]
    while count_tokens(tokenizer, cut) > tokens:  # a part of a word can have more tokens than it had in the whole
        cut = cut[:-1]
    return cut.rstrip()


def seen_by_clip(image: UInt8[np.ndarray, "3 _ _"], side: int) -> Float[Tensor, "3 {side} {side}"]:
    """An image as CLIP takes it: squashed to a square (bicubic), less CLIP's mean, over its deviation."""
    square = Image.fromarray(image.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(square).transpose(2, 0, 1) / np.float32(255))
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def _spans(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Where in `text` each of its tokens begins and ends."""
    return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False).offset_mapping


def _tensor(features: Any) -> Float[Tensor, "n dim"]:
    """What transformers returns: the features themselves up to version 4, an object that holds them from 5 on."""
    return (features if isinstance(features, Tensor) else features.pooler_output).cpu()


def _batches(items: Iterable[Any]) -> Iterable[list[Any]]:
    rest = iter(items)
    return iter(lambda: list(itertools.islice(rest, _BATCH)), [])
