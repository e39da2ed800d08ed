"""The view that a whole block of images is shown in at one step: crop, mirror, circular shift (scdd.md 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attar.compression.recovery_settings import RecoverySettings
from attar.compression.windows import TRIES, crop_boxes
from attar.synthesis.draws import Stream, generator


@dataclass(frozen=True)
class BlockView:
    """A window of `height` x `width` pixels at (`top`, `left`), enlarged to the whole side, then mirrored where
    `flipped`, then moved `down` and to the `right`, coming back in on the other side."""

    top: int
    left: int
    height: int
    width: int
    flipped: bool = False
    down: int = 0
    right: int = 0

    def __call__(self, images: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n 3 side side"]:
        """The view of each image; the very pixels where it is all of it, unmoved."""
        side = images.shape[-1]
        if (self.height, self.width) != (side, side):
            window = images[:, :, self.top : self.top + self.height, self.left : self.left + self.width]
            images = _enlarging(self.height, side).to(images) @ window @ _enlarging(self.width, side).to(images).T
        if self.flipped:
            images = images.flip(-1)
        return images.roll((self.down, self.right), (2, 3)) if self.down or self.right else images


def draw_view(settings: RecoverySettings, side: int, *, block: int, step: int) -> BlockView:
    """The view of block number `block` of images of `side` pixels at `step`."""
    random = generator(settings.seed, Stream.RECOVERY, step=step, image=block, view=1)
    drawn, turned = random.random((1, 2 * TRIES + 2)), random.random()
    down, right = random.integers(settings.roll_low, settings.roll_high, size=2, endpoint=True).tolist()
    box = (0, 0, side, side)
    if settings.crop == "random":
        top, left, height, width = crop_boxes(drawn, (settings.crop_bound(step), 1.0), side)
        box = (int(top[0]), int(left[0]), int(height[0]), int(width[0]))
    return BlockView(*box, flipped=bool(settings.flip and turned < 0.5), down=down, right=right)


def _enlarging(small: int, side: int) -> Float[Tensor, "{side} {small}"]:
    """Bilinear weights, half-pixel centres, edges repeated: a matrix, whose product is deterministic on any device."""
    points = ((np.arange(side) + 0.5) * small / side - 0.5).clip(0, small - 1)
    return torch.from_numpy((1 - np.abs(points[:, None] - np.arange(small))).clip(0))
