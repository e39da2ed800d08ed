"""Mixing the images of a batch: CutMix and Mixup, one draw for the whole batch (scdd.md 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Mix = Literal["none", "cutmix", "mixup"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mixing:
    """What one batch mixes: image i with image `permutation[i]`.

    `box` (top, left, bottom, right; the last two outside) is where CutMix pastes the other image; None blends the whole
    images. `share` is what remains of an image's own area or weight.
    """

    permutation: Int[np.ndarray, " n"]
    share: float
    box: Box | None


def draw_mixing(
    mix: Mix, strength: float, probability: float, count: int, side: int, random: np.random.Generator
) -> Mixing:
    """How a batch of `count` images of `side` pixels is mixed: λ ~ Beta(strength, strength)."""
    if mix == "none" or random.random() >= probability:
        return Mixing(np.arange(count), 1.0, None)
    permutation, kept = random.permutation(count), float(random.beta(strength, strength))
    if mix == "mixup":
        return Mixing(permutation, kept, None)
    row, column = (int(place) for place in random.integers(0, side, 2))
    box = cutmix_box(kept, row, column, side)
    return Mixing(permutation, 1 - (box[2] - box[0]) * (box[3] - box[1]) / side**2, box)


def cutmix_box(kept: float, row: int, column: int, side: int) -> Box:
    """(top, left, bottom, right) of CutMix's box around a centre, cut off at the edges; `kept` is λ."""
    half = math.floor(side * math.sqrt(1 - kept)) // 2
    return max(row - half, 0), max(column - half, 0), min(row + half, side), min(column + half, side)


def mixed(images: Float[Tensor, "n c side side"], mixing: Mixing) -> Float[Tensor, "n c side side"]:
    """The images mixed; `images` stay as they are."""
    if mixing.share == 1:
        return images
    others = images[torch.from_numpy(mixing.permutation).to(images.device)]
    if mixing.box is None:
        return mixing.share * images + (1 - mixing.share) * others
    top, left, bottom, right = mixing.box
    pasted = images.clone()
    pasted[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return pasted
