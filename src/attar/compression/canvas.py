"""Images as a network takes them: normalised pixels, kept within what images in 0..1 can be (scdd.md 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.synthesis.canvas import Canvas


@final
class NormalisedPixels(Canvas):
    """Pixels less `mean`, divided by `std`, a channel each; after each step clipped to what 0 and 1 are there.

    They begin as `noise`, some of which lies outside until the first step: in images() it is black or white.
    """

    def __init__(self, noise: Float[Tensor, "count 3 side side"], mean: Sequence[float], std: Sequence[float]):
        self.count, self.side = len(noise), noise.shape[-1]
        self._mean, self._std = (noise.new_tensor(values).view(3, 1, 1) for values in (mean, std))
        self.pixels = noise.clone().requires_grad_()

    def parameters(self) -> dict[str, Tensor]:
        return {"pixels": self.pixels}

    @property
    def size(self) -> int:
        return self.pixels.numel()

    def images(self, ids: Int[Tensor, " k"]) -> Float[Tensor, "k 3 side side"]:
        return (self.pixels[ids] * self._std + self._mean).clamp(0, 1)

    @torch.no_grad()
    def after_step(self) -> None:
        torch.clamp(self.pixels, -self._mean / self._std, (1 - self._mean) / self._std, out=self.pixels)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.pixels = state["pixels"].detach().clone().to(self.pixels).requires_grad_()
