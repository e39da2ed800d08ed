"""Statistical flow matching: the cosine between centred class means (sfm.md 4, 5, 7).

Source: Xia et al., "Efficient Dataset Distillation for Pre-Trained Self-Supervised Models via Statistical Flow
Matching", arXiv 2602.05391. The authors' flow of class c, mean of the other classes less the own mean, is
-C/(C-1) times the centred class mean, so the cosine of the flows is the cosine of A = T - mean(T).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import SettingsError
from attar.features import RealFeatures
from attar.synthesis.objectives.base import FeatureLoss, Objective, Rows
from attar.synthesis.presets import Settings


@final
@dataclass(frozen=True, eq=False)
class StatisticalFlowMatching(Objective):
    """1 - cos(A_real, A_synthetic) + w_mean · L_mean + w_scale · L_scale, with A the centred class means.

    The cosine alone leaves the common mean and the scale of the synthetic features free. `w_mean` weighs
    L_mean = C |mean(T_s) - mean(T_r)|² / |A_r|², `w_scale` weighs L_scale = ln(|A_s| / |A_r|)²; both are 0 in the
    paper. With `images_per_class` given, the authors' divisor for several images a class is used in place of the
    correct one (their code divides the synthetic sum over other classes by C·ipc - 1).
    """

    real: Float[Tensor, "classes dim"]
    w_mean: float = 0.0
    w_scale: float = 0.0
    images_per_class: int | None = None

    def __post_init__(self) -> None:
        if len(self.real) < 2:
            raise SettingsError("Flow matching needs at least two classes.", "A flow points from one class to others.")
        if not torch.isfinite(self.real).all():
            raise SettingsError("The real class means are not finite.", "Check the backbone's weights and mean/std.")
        if _norm(_centred(self.real)) == 0:
            raise SettingsError("All real class means are equal.", "The backbone sees no difference between classes.")

    @classmethod
    def build(cls, real: RealFeatures, settings: Settings) -> StatisticalFlowMatching:
        """The objective of a run: towards the real class means, with the settings' options."""
        return cls(
            real.statistics.means,
            w_mean=settings.w_mean,
            w_scale=settings.w_scale,
            images_per_class=settings.ipc if settings.paper_quirks else None,
        )

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        del step  # the target never changes
        return self._loss

    def _loss(self, features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        exact = features.to(torch.float32 if features.device.type == "mps" else torch.float64)
        real = self.real.to(exact)
        synthetic, counts = class_means(exact, rows.label, len(real))
        common = synthetic.mean(0) - real.mean(0)

        share = 1.0 if self.images_per_class is None else 1.0 / self.images_per_class
        a_real = _centred(real)
        a = synthetic - share * synthetic.mean(0)
        n_real, n = _norm(a_real), _norm(a)
        floor = 1e-12 * (1 + _norm(synthetic.mean(0)))
        if n < floor:
            warnings.warn("All synthetic class means are equal; the flow's direction is arbitrary.", stacklevel=2)
            n = floor
        cosine = (a_real * a).sum() / (n_real * n)
        pull = -(a_real / n_real - cosine * a / n) / n
        gradient = pull - share * pull.mean(0)
        loss = 1 - cosine

        mean_loss = len(real) * common.square().sum() / n_real**2
        log_scale = torch.log(n / n_real)
        loss = loss + self.w_mean * mean_loss + self.w_scale * log_scale.square()
        scale_pull = 2 * log_scale * a / n**2
        gradient = gradient + self.w_mean * 2 * common / n_real**2
        gradient = gradient + self.w_scale * (scale_pull - share * scale_pull.mean(0))

        per_class = torch.nn.functional.cosine_similarity(a_real, a)
        log = {
            "cosine": float(cosine),
            "scale": float(n / n_real),
            "mean": float(mean_loss),
            "worst_class": float(per_class.min()),
            "median_class": float(per_class.median()),
        }
        return FeatureLoss(float(loss), (gradient / counts[:, None])[rows.label], log)


def class_means(
    features: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"], classes: int
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Mean feature and number of rows of each class, as one matrix product; refuses classes without rows."""
    membership = torch.nn.functional.one_hot(labels, classes).to(features)
    counts = membership.sum(0)
    if (counts == 0).any():
        raise SettingsError(f"Class {int(counts.argmin())} has no synthetic image.", "Every class takes part.")
    return membership.T @ features / counts[:, None], counts


def _centred(means: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes dim"]:
    return means - means.mean(0)


def _norm(values: Tensor) -> Float[Tensor, ""]:
    return torch.linalg.vector_norm(values)
