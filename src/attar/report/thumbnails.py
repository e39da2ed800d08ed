"""Images as text inside a page: WebP files in base64, as large as a budget of characters lets them be."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attar.images.source import ahead

_SAMPLED = 24
_MARGIN = 0.9  # of the budget: the images that weren't sampled may be larger


@dataclass(frozen=True)
class Look:
    """At most `side` pixels high, at a WebP quality; None is lossless."""

    side: int
    quality: int | None


TILES = (Look(256, 80), Look(128, 80), Look(96, 75), Look(80, 60), Look(64, 50), Look(48, 40))
LARGE = (Look(2048, None), Look(2048, 85), Look(448, 80), Look(224, 75), Look(160, 70), Look(128, 55), Look(96, 45))
STRIPS = (Look(64, 75), Look(64, 45), Look(32, 60), Look(16, 50))
NEIGHBOURS = (Look(96, 75), Look(64, 70), Look(48, 60), Look(32, 50))


def webp(image: UInt8[np.ndarray, "3 h w"], look: Look) -> str:
    """The image in base64; made smaller where it is higher than the look's side, never larger."""
    picture = Image.fromarray(image.transpose(1, 2, 0))
    if picture.height > look.side:
        width = max(1, round(picture.width * look.side / picture.height))
        picture = picture.resize((width, look.side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if look.quality is None:
        picture.save(file, "WEBP", lossless=True)
    else:
        picture.save(file, "WEBP", quality=look.quality)
    return base64.b64encode(file.getvalue()).decode()


def pick_look(images: Sequence[np.ndarray] | np.ndarray, looks: Sequence[Look], budget: int) -> Look | None:
    """The first of `looks` at which all images together take at most `budget` characters, judged by 24 of them; None
    where none does."""
    sampled = np.unique(np.linspace(0, len(images) - 1, min(len(images), _SAMPLED)).astype(int))
    for look in looks:
        sizes = [len(webp(images[int(index)], look)) for index in sampled]
        if np.mean(sizes) * len(images) <= _MARGIN * budget:
            return look
    return None


def fitted(images: Sequence[np.ndarray] | np.ndarray, looks: Sequence[Look], budget: int) -> list[str]:
    """Every image at the first look that fits the budget, or at the last."""
    return encoded(images, pick_look(images, looks, budget) or looks[-1])


def encoded(images: Sequence[np.ndarray] | np.ndarray, look: Look) -> list[str]:
    """Every image in base64, in order."""
    return list(ahead(partial(webp, look=look), images))
