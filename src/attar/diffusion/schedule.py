"""Which noise levels a deterministic sampler visits, and how far a latent may be pulled at each (diver.md 2, 5).

Steps are counted by an index k, from the noisiest, k = steps, down to k = 1; k = 0 is the finished latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float, Float64
from torch import Tensor

from attar.errors import SettingsError

Sigma = Literal["posterior", "marginal", "learned"]


@final
@dataclass(frozen=True)
class Schedule:
    """`steps` of a model's noise levels, "leading" spacing, as DDIM takes them; all numbers in float64.

    `alphas[t]` is ᾱ of timestep t, the share of the image in a noisy latent's variance; `final_alpha` is that of the
    finished latent (1 for DiT, ᾱ of timestep 0 for Stable Diffusion), and `offset` is added to every timestep (0, 1).
    Raises SettingsError where the model has too few timesteps.
    """

    alphas: Float64[Tensor, " timesteps"]
    final_alpha: float
    offset: int
    steps: int

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= len(self.alphas) or self.timestep(self.steps) >= len(self.alphas):
            raise SettingsError(
                f"{self.steps} steps are not between 1 and the {len(self.alphas)} timesteps of this model",
                "choose another --steps",
            )

    def timestep(self, k: int) -> int:
        """τ(k), what the model is told."""
        return len(self.alphas) // self.steps * (k - 1) + self.offset

    def alpha(self, k: int) -> float:
        """ᾱ_k, also at k = 0."""
        return self.final_alpha if k == 0 else float(self.alphas[self.timestep(k)])

    def posterior(self, k: int) -> float:
        """Standard deviation of the reverse step from k to k - 1: DDIM's σ at eta = 1 (2010.02502, equation 16)."""
        now, after = self.alpha(k), self.alpha(k - 1)
        return math.sqrt((1 - after) / (1 - now) * (1 - now / after))

    def marginal(self, k: int) -> float:
        """Standard deviation of the noise in a latent at k."""
        return math.sqrt(1 - self.alpha(k))

    def learned(self, k: int, variance: Float[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
        """Standard deviation that a model tells by its variance channels v in [-1, 1].

        Its logarithm lies at (v + 1) / 2 of the way from the posterior variance to β of the spaced steps (2102.09672,
        equation 15). The posterior variance is 0 at k = 1 where ᾱ ends at 1; then that of k = 2 stands in, as in DiT.
        """
        highest = math.log(1 - self.alpha(k) / self.alpha(k - 1))
        smallest = self.posterior(k) or self.posterior(min(2, self.steps))
        lowest = 2 * math.log(smallest) if smallest > 0 else highest
        share = (variance + 1) / 2
        return ((share * highest + (1 - share) * lowest) / 2).exp()

    def sigma(self, kind: Sigma, k: int, variance: Float[Tensor, "n c s s"] | None) -> float | Float[Tensor, "n c s s"]:
        """σ_k of that kind; `variance` is what the model told, and needed for "learned" alone."""
        if kind == "learned":
            if variance is None:
                raise SettingsError("this model tells no variances to learn σ from", "choose --sigma posterior")
            return self.learned(k, variance)
        return self.posterior(k) if kind == "posterior" else self.marginal(k)
