"""Class means and means of the other classes, each matched on its own: an ablation of flow matching (sfm.md 4).

Source: `sfm_decouple` in the code of Xia et al., arXiv 2602.05391. The mean of the other classes is almost the common
mean, so the second term has little to say of any single class: with H the centring and D = T_s - T_r,
|n_s - n_r|² = |H D|² / (C - 1)² + C |mean(D)|².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from attar.features import RealFeatures
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.flow import centred, check_means, class_means, exactly


@final
class DecoupledOptions(Options):
    """Settings of decoupled matching."""

    alpha: float = Field(1.0, ge=0, le=1, description="weight of the class means; the other classes' have the rest")


@final
@dataclass(frozen=True, eq=False)
class DecoupledMatching(Objective):
    """alpha · MSE(T_s, T_r) + (1 - alpha) · MSE(n_s, n_r), n the mean of the other classes; at 1
    `MeanMatching` but for its unit."""

    Options = DecoupledOptions

    real: Float[Tensor, "classes dim"]
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_means(self.real)

    @classmethod
    def build(cls, real: RealFeatures, options: DecoupledOptions, *, ipc: int, seed: int) -> DecoupledMatching:
        """The objective of a run: towards the means of all real features."""
        del ipc, seed  # nothing is drawn
        return cls(real.statistics.means, options.alpha)

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        del step  # the target never changes
        return self._loss

    def _loss(self, features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        exact = exactly(features)
        means, counts = class_means(exact, rows.label, len(self.real))
        gap = means - self.real.to(exact)
        own, common = centred(gap), gap.mean(0)
        of_own = self.alpha + (1 - self.alpha) / (len(gap) - 1) ** 2
        loss = (of_own * own.square().sum() + len(gap) * common.square().sum()) / gap.numel()
        gradient = 2 * (of_own * own + common) / gap.numel()
        return FeatureLoss(float(loss), (gradient / counts[:, None])[rows.label], {})
