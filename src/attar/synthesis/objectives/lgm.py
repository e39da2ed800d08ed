"""Linear gradient matching: at a random linear head, synthetic features ask for the change that real ones ask for.

Source: Cazenavette et al., "Dataset Distillation for Pre-Trained Self-Supervised Vision Models", arXiv 2511.16674; the
published loop differentiates the head's gradient by double backward, here it is in closed form (lgm.md 2).

The real side comes from class means and the scatter within classes by default ("statistics", lgm.md 3): for small
heads that estimates the gradient of all images better than a batch does, and no real image is touched again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from attar.errors import SettingsError
from attar.features import RealFeatures
from attar.synthesis.draws import Stream, generator
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.flow import exactly
from attar.synthesis.objectives.linear_head import Head, expected_gradient, head_gradient, residual_of, with_one

_LARGEST_SPREAD = 4.0  # deviation of the logits up to which statistics beat a batch (lgm.md 2.1)


@final
class GradientOptions(Options):
    """Settings of linear gradient matching."""

    real: Literal["statistics", "features", "batch"] = Field(
        "statistics", description="class means and scatter, all cached features, or fresh images in each step"
    )
    heads: int = Field(1, ge=1, description="random heads a step")
    head_std: float = Field(0.01, ge=0, description="deviation of a head's weights")
    head_scale: float | None = Field(None, ge=0, description="in place of head_std: deviation of the logits")
    prior: Literal["uniform", "empirical"] = Field("uniform", description="how much each class counts on the real side")

    def fresh_views(self, rows: int, classes: int) -> int:
        """As many as there are synthetic ones, as the authors have it."""
        return rows if self.real == "batch" else 0


RealGradient = Callable[[Head, int, int], Float[Tensor, "classes dim+1"]]
"""(head, step, number of synthetic rows) -> the head's gradient on the real side."""


@final
@dataclass(frozen=True, eq=False)
class LinearGradientMatching(Objective):
    """1 - cos(g_real, g_synthetic): g is the cross-entropy's gradient of weights and bias of a random head.

    One cosine over the whole vector, as the authors have it; the mean over `heads` heads, drawn by (seed, step).
    """

    Options = GradientOptions

    real: RealGradient
    classes: int
    dim: int
    seed: int = 0
    heads: int = 1
    head_std: float = 0.01

    @classmethod
    def build(cls, real: RealFeatures, options: GradientOptions, *, ipc: int, seed: int) -> LinearGradientMatching:
        """The objective of a run; warns where `statistics` can't follow heads as large as these."""
        del ipc
        std = options.head_std if options.head_scale is None else options.head_scale / _length(real)
        if options.real == "statistics" and (spread := std * _length(real)) > _LARGEST_SPREAD:
            message = f"logits of deviation {spread:.1f}: statistics are a poor guide above {_LARGEST_SPREAD:.0f}"
            warnings.warn(f"{message}; use --set real=features", stacklevel=2)
        made = {"statistics": _from_statistics, "features": _from_features, "batch": _from_batches}[options.real]
        classes, dim = real.statistics.means.shape
        return cls(made(real, options.prior), classes, dim, seed, options.heads, std)

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        heads = [self.head(step, number) for number in range(self.heads)]

        def judge(features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
            exact = exactly(features)
            loss, gradient = 0.0, torch.zeros_like(exact)
            for head in heads:
                head = Head(head.weight.to(exact), head.bias.to(exact))
                one, slope = match_gradients(exact, rows.label, head, self.real(head, step, len(rows)).to(exact))
                loss, gradient = loss + one / self.heads, gradient + slope / self.heads
            spread = self.head_std * float(exact.square().sum(1).mean().sqrt())
            return FeatureLoss(loss, gradient, {"cosine": 1 - loss, "logit_spread": spread})

        return judge

    def head(self, step: int, number: int) -> Head:
        """Head `number` of `step`: normal weights of deviation `head_std`, no bias."""
        drawn = generator(self.seed, Stream.HEADS, step=step, view=number).standard_normal((self.classes, self.dim))
        return Head(torch.from_numpy(drawn) * self.head_std, torch.zeros(self.classes, dtype=torch.float64))


def match_gradients(
    features: Float[Tensor, "rows dim"],
    labels: Int[Tensor, " rows"],
    head: Head,
    real: Float[Tensor, "classes dim+1"],
) -> tuple[float, Float[Tensor, "rows dim"]]:
    """1 - cos(real, the head's gradient on the features), and its gradient with respect to the features (lgm.md 2)."""
    chances = torch.softmax(features @ head.weight.T + head.bias, dim=1)
    residual = residual_of(chances, labels) / len(features)
    extended = with_one(features)
    synthetic = residual.T @ extended
    n_real, n = torch.linalg.vector_norm(real), torch.linalg.vector_norm(synthetic)
    if n_real == 0 or n == 0:
        raise SettingsError("a random head has no gradient", "check that the images differ, and the backbone's weights")
    cosine = (real * synthetic).sum() / (n_real * n)
    pull = (cosine * synthetic / n - real / n_real) / n

    through_residual = extended @ pull.T
    expected = (chances * through_residual).sum(1, keepdim=True)
    to_logits = chances * (through_residual - expected) / len(features)
    return float(1 - cosine), to_logits @ head.weight + residual @ pull[:, :-1]


def _from_statistics(real: RealFeatures, prior: str) -> RealGradient:
    statistics = real.statistics
    shares = _shares(statistics.counts, prior)

    def gradient(head: Head, step: int, rows: int) -> Tensor:
        means, within = statistics.means.to(head.weight), real.within.to(head.weight)
        return expected_gradient(means, within, shares.to(head.weight), head)

    return gradient


def _from_features(real: RealFeatures, prior: str) -> RealGradient:
    values, labels = real.rows()
    counts = torch.bincount(labels, minlength=real.classes)
    weights = (_shares(counts, prior) / counts)[labels]

    def gradient(head: Head, step: int, rows: int) -> Tensor:
        place = head.weight.device
        return head_gradient(values.to(head.weight), labels.to(place), head, weights.to(head.weight))

    return gradient


def _from_batches(real: RealFeatures, prior: str) -> RealGradient:
    def gradient(head: Head, step: int, rows: int) -> Tensor:
        values, labels = real.batch(step, rows, balanced=prior == "uniform")
        weights = head.weight.new_full((len(values),), 1 / len(values))
        return head_gradient(values.to(head.weight), labels.to(head.weight.device), head, weights)

    return gradient


def _length(real: RealFeatures) -> float:
    """Root mean square length of the real features."""
    counts, means = real.statistics.counts.double(), real.statistics.means
    return float((counts @ means.square().sum(1) / counts.sum() + real.within.trace()).sqrt())


def _shares(counts: Int[Tensor, " classes"], prior: str) -> Float[Tensor, " classes"]:
    if prior == "empirical":
        return counts.double() / counts.sum()
    return torch.full((len(counts),), 1 / len(counts), dtype=torch.float64)
