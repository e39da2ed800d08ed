"""An objective of another package: synthetic images that a nearest-mean classifier of the real data recognises.

The classifier is that of prototypical networks (Snell et al., arXiv 1703.05175, equation 2) with the real class means
as prototypes: p(c | f) ~ exp(-|f - mean_c|² / T). T is `temperature` times the mean squared distance of a class mean
from the mean of all, so that one value suits every backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from attar.features import RealFeatures
from attar.synthesis.objectives import FeatureLoss, Objective, Options, Rows


class NearestOptions(Options):
    """What `attar distill --method nearest --set temperature=...` sets."""

    temperature: float = Field(0.5, gt=0, description="how soft the classifier is")


@dataclass(frozen=True, eq=False)
class NearestMean(Objective):
    """Cross-entropy of the views' own classes under the softmax over distances to the real class means."""

    Options = NearestOptions

    real: Float[Tensor, "classes dim"]
    temperature: float = 0.5

    @classmethod
    def build(cls, real: RealFeatures, options: NearestOptions, *, ipc: int, seed: int) -> NearestMean:
        """The objective of a run: every image of a class has the same aim, and nothing is drawn."""
        return cls(real.statistics.means, options.temperature)

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        return self._loss

    def _loss(self, features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        means = self.real.to(features)
        scale = self.temperature * (means - means.mean(0)).square().sum(1).mean()
        logs = torch.log_softmax(-torch.cdist(features, means).square() / scale, dim=1)
        own = logs.gather(1, rows.label[:, None])
        excess = logs.exp() - torch.nn.functional.one_hot(rows.label, len(means))
        gradient = 2 / (scale * len(rows)) * excess @ means  # its rows sum to 0, so the features' own part cancels
        return FeatureLoss(float(-own.mean()), gradient, {"recognised": float(own.exp().mean())})
