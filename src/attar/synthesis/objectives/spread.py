"""How far the images of a class should lie apart: as far as real ones do (sfm.md 10).

Class means say nothing of it, so at several images a class nothing else keeps them from becoming the same image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import SettingsError
from attar.features import RealFeatures
from attar.synthesis.objectives.flow import class_means

_ROWS = 50_000
_LEAST = 1e-12  # of the real trace: equal rows have a finite loss, and no gradient


@dataclass(frozen=True, eq=False)
class Spread:
    """weight · mean over classes of ln(tr S_s / tr S_r)², where tr S is the mean squared distance from the class mean.

    `real` are the traces of the real classes. Views of one image count as rows on both sides.
    """

    weight: float
    real: Float[Tensor, " classes"]

    def __post_init__(self) -> None:
        if not (self.real > 0).all():
            message = f"all real features of class {int(self.real.argmin())} are equal: there is no spread to ask for"
            raise SettingsError(message, "use --set spread=0")

    @classmethod
    def of(cls, real: RealFeatures, weight: float) -> Spread:
        """Towards the traces of the real rows, or of a sample of many (float64)."""
        values, labels = real.sample(_ROWS)
        members = labels.argsort(stable=True).split(torch.bincount(labels, minlength=real.classes).tolist())
        return cls(weight, torch.stack([values[rows].double().var(0, correction=0).sum() for rows in members]))

    def __call__(
        self, features: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]
    ) -> tuple[float, Float[Tensor, "rows dim"]]:
        """The weighted loss, and its gradient with respect to the features."""
        real = self.real.to(features)
        means, counts = class_means(features, labels, len(real))
        deviations = features - means[labels]
        membership = torch.nn.functional.one_hot(labels, len(real)).to(features)
        traces = (membership.T @ deviations.square().sum(1) / counts).clamp(min=_LEAST * real)
        log_ratio = torch.log(traces / real)
        slopes = 4 * self.weight * log_ratio / (len(real) * counts * traces)
        return float(self.weight * log_ratio.square().mean()), slopes[labels, None] * deviations
