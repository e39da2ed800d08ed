"""The one sampling loop over a latent diffusion model: DDIM without noise, and what may steer it (diver.md 3).

A plain class-conditional sample is `sample(model, noise, conditions, schedule, guidance=4.0)`. DIVER's parts fall out
of two arguments: semantic inheritance is another start (`noised` latents of an image), semantic guidance is a `Pull`
towards these latents, and semantic fusion is that pull inside a window of steps. SDEdit is a start as noisy as the
step `first` that it begins at, and no pull. Latents keep their dtype: float32 in a run, float64 in tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from attar.diffusion.latent import Prediction
from attar.diffusion.schedule import Schedule, Sigma

Target = Literal["clean", "renoised", "x0hat"]
Steer = Callable[[int, Tensor, Tensor, Tensor | None], Tensor | None]
"""What to subtract after step k, from (k, the latents before it, the clean estimate, the variance channels)."""


@runtime_checkable
class PredictsNoise(Protocol):
    """What the loop asks of a model; `LatentDiffusion` is one."""

    def predict(
        self, latents: Tensor, timestep: int, conditions: Sequence[int | str], *, guided: bool
    ) -> Prediction: ...


def noised(clean: Float[Tensor, "n c s s"], noise: Float[Tensor, "n c s s"], alpha: float) -> Float[Tensor, "n c s s"]:
    """√ᾱ clean + √(1−ᾱ) noise: what the forward process makes of clean latents."""
    return math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * noise


@torch.no_grad()
def sample(
    model: PredictsNoise,
    start: Float[Tensor, "n c s s"],
    conditions: Sequence[int | str],
    schedule: Schedule,
    *,
    guidance: float,
    first: int | None = None,
    steer: Steer | None = None,
    watch: Callable[[int, Tensor], None] = lambda k, latents: None,
) -> Float[Tensor, "n c s s"]:
    """The latents at the end of the reverse process that begins with `start` at index `first` (default: all steps).

    `guidance` is w of classifier-free guidance, e_u + w (e_c − e_u); at 1 the model is asked once a step, not twice.
    `watch(k, latents)` sees the latents before every step, and at last those of k = 0.
    """
    latents = start
    for k in range(first or schedule.steps, 0, -1):
        watch(k, latents)
        told = model.predict(latents, schedule.timestep(k), conditions, guided=guidance != 1)
        noise = told.conditional
        if told.unconditional is not None:
            noise = told.unconditional + guidance * (told.conditional - told.unconditional)
        alpha = schedule.alpha(k)
        clean = (latents - math.sqrt(1 - alpha) * noise) / math.sqrt(alpha)
        away = None if steer is None else steer(k, latents, clean, told.variance)
        latents = noised(clean, noise, schedule.alpha(k - 1))
        if away is not None:
            latents = latents - away
    watch(0, latents)
    return latents


@final
@dataclass(frozen=True)
class Pull:
    """Semantic guidance: after step k, for low < k <= high, γ σ_k of the way back towards the latents of an image.

    It is the gradient of σ_k/2 ‖z_k − z0‖² at the latent before the step, σ taken as constant. `target` says what the
    way leads to: z0 itself ("clean", the paper's; it shrinks the noise that is left, too), z0 with as much of `noise`
    as belongs at k ("renoised"), or z0 for the estimate of the finished latent ("x0hat"); the latter two are ours.
    """

    schedule: Schedule
    inherited: Float[Tensor, "n c s s"]
    noise: Float[Tensor, "n c s s"]
    gamma: float
    high: int
    low: int = 0
    sigma: Sigma = "posterior"
    target: Target = "clean"

    def __call__(
        self,
        k: int,
        latents: Float[Tensor, "n c s s"],
        clean: Float[Tensor, "n c s s"],
        variance: Float[Tensor, "n c s s"] | None,
    ) -> Float[Tensor, "n c s s"] | None:
        """What to subtract after step k; None outside the window."""
        if not self.low < k <= self.high:
            return None
        return self.gamma * self.schedule.sigma(self.sigma, k, variance) * self._way(k, latents, clean)

    def _way(self, k: int, latents: Tensor, clean: Tensor) -> Tensor:
        if self.target == "clean":
            return latents - self.inherited
        if self.target == "renoised":
            return latents - noised(self.inherited, self.noise, self.schedule.alpha(k))
        return math.sqrt(self.schedule.alpha(k - 1)) * (clean - self.inherited)
