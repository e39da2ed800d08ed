"""Statistical flow matching: the cosine between centred class means (sfm.md 4, 5, 7).

Source: Xia et al., "Efficient Dataset Distillation for Pre-Trained Self-Supervised Models via Statistical Flow
Matching", arXiv 2602.05391. The authors' flow of class c, mean of the other classes less the own mean, is
-C/(C-1) times the centred class mean, so the cosine of the flows is the cosine of A = T - mean(T).

What isn't the authors' are four choices: what T is on the real side (`target`), which linear map the features pass
first (`whiten`), how much each class weighs before centring (`prior`), and what is asked beside the cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from attar.errors import SettingsError
from attar.features import RealFeatures
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.flow import check_means, class_means, exactly, match_flows
from attar.synthesis.objectives.spread import Spread
from attar.synthesis.objectives.targets import learned_vectors, probe_inverse, whitening


@final
class FlowOptions(Options):
    """Settings of statistical flow matching."""

    target: Literal["means", "learned", "probe-inverse"] = Field(
        "means", description="class means, vectors that a probe learns best from, or the full probe's inverse"
    )
    w_mean: float = Field(0.0, ge=0, description="weight of the common mean")
    w_scale: float = Field(0.0, ge=0, description="weight of the scale")
    spread: float = Field(0.0, ge=0, description="weight of the distances within classes, at several images a class")
    whiten: float | None = Field(None, gt=0, le=1, description="shrinkage of the scatter that whitens features first")
    prior: Literal["uniform", "empirical"] = Field("uniform", description="how much each class counts in the flows")
    per_class: bool = Field(False, description="the mean of the classes' cosines in place of one for all")
    paper_quirks: bool = Field(False, description="the authors' divisor at ipc > 1")
    group_balanced: bool = Field(False, description="class centres in which every group counts the same")

    @property
    def needs_groups(self) -> bool:
        return self.group_balanced


@final
@dataclass(frozen=True, eq=False)
class StatisticalFlowMatching(Objective):
    """1 - cos(A_real, A_synthetic) + w_mean · L_mean + w_scale · L_scale, with A the centred class means.

    The cosine alone leaves the common mean and the scale of the synthetic features free. `w_mean` weighs
    L_mean = C |mean(T_s) - mean(T_r)|² / |T_r - mean(T_r)|², `w_scale` weighs L_scale = ln(|A_s| / |A_r|)²; both are 0
    in the paper. With `shares`, which sum to 1, rows of T count C · share times before they are centred (sfm.md 6).
    With `map` class means are multiplied by it first; `spread` is of the features as they are. With `images_per_class`
    given, the authors' divisor for several images a class is used in place of the correct one (their code divides the
    synthetic sum over other classes by C·ipc - 1).
    """

    Options = FlowOptions

    real: Float[Tensor, "classes dim"]
    w_mean: float = 0.0
    w_scale: float = 0.0
    images_per_class: int | None = None
    shares: Float[Tensor, " classes"] | None = None
    per_class: bool = False
    map: Float[Tensor, "dim dim"] | None = None
    spread: Spread | None = None

    def __post_init__(self) -> None:
        check_means(self.real)
        still = (self._flows(self.real.double()) == 0).all(1)
        if self.per_class and still.any():
            message = f"class {int(still.double().argmax())} has no flow: its mean is that of all classes"
            raise SettingsError(message, "use --set per_class=false")

    @classmethod
    def build(cls, real: RealFeatures, options: FlowOptions, *, ipc: int, seed: int) -> StatisticalFlowMatching:
        """The objective of a run."""
        del seed  # nothing is drawn
        counts = real.statistics.counts.double()
        return cls(
            _target(real, options),
            w_mean=options.w_mean,
            w_scale=options.w_scale,
            images_per_class=ipc if options.paper_quirks else None,
            shares=counts / counts.sum() if options.prior == "empirical" else None,
            per_class=options.per_class,
            map=None if options.whiten is None else whitening(real.within, options.whiten),
            spread=Spread.of(real, options.spread) if options.spread else None,
        )

    @classmethod
    def check(cls, options: FlowOptions, counts: Mapping[str, int], *, ipc: int) -> None:
        """Settings that can't go together."""
        del counts
        if options.spread and ipc == 1:
            raise SettingsError("one image a class has no spread", "use --set spread=0, or a larger --ipc")
        if options.group_balanced and options.target != "means":
            raise SettingsError(f"target {options.target} knows no groups", "use --set target=means")

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        del step  # the target never changes
        return self._loss

    def _loss(self, features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        exact = exactly(features)
        synthetic, counts = class_means(exact, rows.label, len(self.real))
        real, synthetic = self._mapped(self.real.to(exact)), self._mapped(synthetic)
        share = 1.0 if self.images_per_class is None else 1.0 / self.images_per_class
        match = match_flows(
            self._flows(real),
            self._flows(synthetic, share),
            real,
            synthetic,
            w_mean=self.w_mean,
            w_scale=self.w_scale,
            per_class=self.per_class,
        )
        to_means = self._weighed(match.to_flows - share * match.to_flows.mean(0)) + match.to_mean
        to_means = to_means if self.map is None else to_means @ self.map.T.to(exact)
        gradient = (to_means / counts[:, None])[rows.label]
        if self.spread is None:
            return FeatureLoss(match.loss, gradient, match.log)
        apart, slope = self.spread(exact, rows.label)
        return FeatureLoss(match.loss + apart, gradient + slope, match.log | {"spread": apart / self.spread.weight})

    def _flows(self, means: Float[Tensor, "classes dim"], share: float = 1.0) -> Float[Tensor, "classes dim"]:
        """A: `means`, each weighed, less `share` of their mean."""
        weighed = self._weighed(means)
        return weighed - share * weighed.mean(0)

    def _weighed(self, means: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes dim"]:
        return means if self.shares is None else means * (len(means) * self.shares[:, None].to(means))

    def _mapped(self, means: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes dim"]:
        return means if self.map is None else means @ self.map.to(means)


def _target(real: RealFeatures, options: FlowOptions) -> Float[Tensor, "classes dim"]:
    """What the class means of the synthetic features should be, up to scale and a common shift."""
    if options.target == "learned":
        return learned_vectors(real, real.statistics.means[:, None])[:, 0]
    if options.target == "probe-inverse":
        return probe_inverse(real)
    return real.balanced_means if options.group_balanced else real.statistics.means
