"""Distribution matching: synthetic class means where the real ones are (baselines.md 4).

Source: Zhao and Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, arXiv 2110.04181, here with one
frozen backbone in place of their random networks. It is what `StatisticalFlowMatching` becomes where common mean and
scale have to fit as well.
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
@dataclass(frozen=True, eq=False)
class MeanMatching(Objective):
    """|T_s - T_r|² / |T_r - mean(T_r)|²: squared distance of all class means, over the spread of the real ones.

    Every class counts equally, whatever its size.
    """

    real: Float[Tensor, "classes dim"]

    def __post_init__(self) -> None:
        check_means(self.real)

    @classmethod
    def build(cls, real: RealFeatures, options: Options, *, ipc: int, seed: int) -> MeanMatching:
        """The objective of a run: towards the means of all real features."""
        del options, ipc, seed  # nothing is drawn
        return cls(real.statistics.means)

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        del step  # the target never changes
        return _towards(self.real, self.real)


@final
class BatchOptions(Options):
    """Settings of distribution matching with fresh images."""

    per_class: int = Field(256, ge=1, description="real images of each class in each step")

    def fresh_views(self, rows: int, classes: int) -> int:
        del rows
        return classes * self.per_class


@final
@dataclass(frozen=True, eq=False)
class BatchMeanMatching(Objective):
    """`MeanMatching` towards the means of fresh views of `per_class` images a class, as published.

    Over many steps this is the loss of all images' means but for a constant, at the cost of encoding each batch.
    """

    Options = BatchOptions

    real: RealFeatures
    per_class: int = 256

    def __post_init__(self) -> None:
        check_means(self.real.statistics.means)

    @classmethod
    def build(cls, real: RealFeatures, options: BatchOptions, *, ipc: int, seed: int) -> BatchMeanMatching:
        """The objective of a run; what is drawn follows the run's seed."""
        del ipc, seed
        return cls(real, options.per_class)

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        classes = self.real.classes
        values, labels = self.real.batch(step, classes * self.per_class, balanced=True)
        means, _ = class_means(exactly(values), labels.to(values.device), classes)
        return _towards(means, self.real.statistics.means)


def _towards(
    target: Float[Tensor, "classes dim"], known: Float[Tensor, "classes dim"]
) -> Callable[[Tensor, Rows], FeatureLoss]:
    """The loss of a step; `known` are the means whose spread is its unit."""

    def judge(features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        exact = exactly(features)
        means, counts = class_means(exact, rows.label, len(target))
        gap, spread = means - target.to(exact), centred(known.to(exact)).square().sum()
        gradient = 2 * gap / spread / counts[:, None]
        log = {"mean": float(len(gap) * gap.mean(0).square().sum() / spread)}
        return FeatureLoss(float(gap.square().sum() / spread), gradient[rows.label], log)

    return judge
