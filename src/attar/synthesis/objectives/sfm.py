"""Statistical flow matching: the cosine between centred class means (sfm.md 4, 5, 7).

Source: Xia et al., "Efficient Dataset Distillation for Pre-Trained Self-Supervised Models via Statistical Flow
Matching", arXiv 2602.05391. The authors' flow of class c, mean of the other classes less the own mean, is
-C/(C-1) times the centred class mean, so the cosine of the flows is the cosine of A = T - mean(T).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from attar.errors import SettingsError
from attar.features import RealFeatures
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.flow import centred, check_means, exactly, match_flows


@final
class FlowOptions(Options):
    """Settings of statistical flow matching."""

    w_mean: float = Field(0.0, ge=0, description="weight of the common mean (sfm.md 7)")
    w_scale: float = Field(0.0, ge=0, description="weight of the scale (sfm.md 7)")
    paper_quirks: bool = Field(False, description="the authors' divisor at ipc > 1 (sfm.md 10)")
    group_balanced: bool = Field(False, description="class centres in which every group counts the same")

    @property
    def needs_groups(self) -> bool:
        return self.group_balanced


@final
@dataclass(frozen=True, eq=False)
class StatisticalFlowMatching(Objective):
    """1 - cos(A_real, A_synthetic) + w_mean · L_mean + w_scale · L_scale, with A the centred class means.

    The cosine alone leaves the common mean and the scale of the synthetic features free. `w_mean` weighs
    L_mean = C |mean(T_s) - mean(T_r)|² / |A_r|², `w_scale` weighs L_scale = ln(|A_s| / |A_r|)²; both are 0 in the
    paper. With `images_per_class` given, the authors' divisor for several images a class is used in place of the
    correct one (their code divides the synthetic sum over other classes by C·ipc - 1).
    """

    Options = FlowOptions

    real: Float[Tensor, "classes dim"]
    w_mean: float = 0.0
    w_scale: float = 0.0
    images_per_class: int | None = None

    def __post_init__(self) -> None:
        check_means(self.real)

    @classmethod
    def build(cls, real: RealFeatures, options: FlowOptions, *, ipc: int, seed: int) -> StatisticalFlowMatching:
        """The objective of a run: towards the real class means."""
        del seed  # nothing is drawn
        return cls(
            real.balanced_means if options.group_balanced else real.statistics.means,
            w_mean=options.w_mean,
            w_scale=options.w_scale,
            images_per_class=ipc if options.paper_quirks else None,
        )

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        del step  # the target never changes
        return self._loss

    def _loss(self, features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        exact = exactly(features)
        real = self.real.to(exact)
        synthetic, counts = class_means(exact, rows.label, len(real))
        share = 1.0 if self.images_per_class is None else 1.0 / self.images_per_class
        match = match_flows(
            centred(real),
            synthetic - share * synthetic.mean(0),
            real,
            synthetic,
            w_mean=self.w_mean,
            w_scale=self.w_scale,
        )
        gradient = match.to_flows - share * match.to_flows.mean(0) + match.to_mean
        return FeatureLoss(match.loss, (gradient / counts[:, None])[rows.label], match.log)


def class_means(
    features: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"], classes: int
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Mean feature and number of rows of each class, as one matrix product; refuses classes without rows."""
    membership = torch.nn.functional.one_hot(labels, classes).to(features)
    counts = membership.sum(0)
    if (counts == 0).any():
        raise SettingsError(f"Class {int(counts.argmin())} has no synthetic image.", "Every class takes part.")
    return membership.T @ features / counts[:, None], counts
