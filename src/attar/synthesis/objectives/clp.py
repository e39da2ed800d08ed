"""Closed-form linear probe: the ridge probe that the synthetic features train must get real features right.

Source: Peng et al., "Closed-Form Linear-Probe Dataset Distillation for Pre-trained Vision Models" (CLP-DD), arXiv
2605.07194, whose code isn't out. Probe and loss are theirs, the settings ours (baselines.md 5): see
benchmarks/clp_settings.py for penalty and temperature. No real image is decoded: steps draw rows of cached features.
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
from attar.synthesis.draws import Stream, generator
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.flow import exactly

_ROWS = 200_000
_DRAW = 2  # names our draws among those of Stream.ORDER; fresh batches have 0 and 1


@final
class ProbeOptions(Options):
    """Settings of the closed-form linear probe."""

    ridge: float = Field(1.0, gt=0, description="the probe's penalty, in mean squared lengths of a synthetic feature")
    temperature: float = Field(0.3, gt=0, description="what the probe's outputs are divided by before the softmax")
    unit_length: bool = Field(True, description="scale all features to length 1")
    intercept: bool = Field(False, description="a probe with an intercept, which the penalty spares")
    batch: int = Field(4096, ge=1, description="rows of real features a step")


@final
@dataclass(frozen=True, eq=False)
class ClosedFormProbe(Objective):
    """Cross-entropy on real features of softmax(probe / temperature), the probe being fitted to the synthetic ones.

    Every view of a synthetic image is a row of the fit, since probes learn from views, and the mean over views would
    hide how much they differ. The penalty is relative to the squared lengths of all rows over the number of images: it
    grows with the views, and showing each twice fits the same probe. Every row of the real features counts the same.
    """

    Options = ProbeOptions

    values: Float[Tensor, "rows dim"]
    labels: Int[Tensor, " rows"]
    classes: int
    options: ProbeOptions
    seed: int = 0

    @classmethod
    def build(cls, real: RealFeatures, options: ProbeOptions, *, ipc: int, seed: int) -> ClosedFormProbe:
        """The objective of a run: judged by the cached features, or by a sample of very many."""
        del ipc
        return cls(*real.sample(_ROWS), real.classes, options, seed)

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        drawn = self._batch(step)

        def judge(features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
            exact = exactly(features)
            queries, answers = self.values[drawn].to(exact), self.labels[drawn].to(exact.device)
            lengths = self._lengths(exact)
            units, queries = exact / lengths, queries / self._lengths(queries)
            targets = torch.nn.functional.one_hot(rows.label, self.classes).to(exact)
            share = self.options.ridge / len(rows.image.unique())
            probe = fit_probe(units, targets, share=share, intercept=self.options.intercept)

            logits = probe(queries) / self.options.temperature
            loss = torch.nn.functional.cross_entropy(logits, answers)
            residual = torch.softmax(logits, dim=1) - torch.nn.functional.one_hot(answers, self.classes)
            gradient = probe.pull(queries, residual / (len(answers) * self.options.temperature))
            if self.options.unit_length:
                gradient = (gradient - (gradient * units).sum(1, keepdim=True) * units) / lengths
            right = (logits.argmax(1) == answers).to(exact).mean()
            return FeatureLoss(float(loss), gradient, {"probe_accuracy": float(right)})

        return judge

    def _batch(self, step: int) -> Int[Tensor, " batch"]:
        """The rows of the real features that are asked at `step`."""
        size = min(self.options.batch, len(self.labels))
        random = generator(self.seed, Stream.ORDER, step=step, view=_DRAW)
        return torch.from_numpy(random.choice(len(self.labels), size, replace=False, shuffle=False))

    def _lengths(self, features: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows 1"]:
        """What the rows are divided by: their lengths, or 1 where those are 0 or are to stay."""
        lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        return torch.where(lengths > 0, lengths, 1.0) if self.options.unit_length else torch.ones_like(lengths)


@dataclass(frozen=True)
class RidgeProbe:
    """A ridge regression in terms of its rows, and what its derivative with respect to them takes.

    The weights are rows.T @ duals, and factor that of Cholesky of rows @ rows.T + share · |rows|² I. With an intercept
    the rows are less `centre`, and the outputs at `centre` are `offset`.
    """

    rows: Float[Tensor, "rows dim"]
    factor: Float[Tensor, "rows rows"]
    duals: Float[Tensor, "rows classes"]
    share: float
    centre: Float[Tensor, " dim"] | None
    offset: Float[Tensor, " classes"] | None

    def __call__(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries classes"]:
        """The probe's outputs."""
        outputs = self._seen(queries) @ self._weights
        return outputs if self.offset is None else outputs + self.offset

    def pull(
        self, queries: Float[Tensor, "queries dim"], to_outputs: Float[Tensor, "queries classes"]
    ) -> Float[Tensor, "rows dim"]:
        """Gradient with respect to the features fitted, of what has the gradient `to_outputs` at the queries."""
        to_weights = self._seen(queries).T @ to_outputs
        betas = torch.cholesky_solve(self.rows @ to_weights, self.factor)
        through_fit = self.duals @ (to_weights - self.rows.T @ betas).T - betas @ self._weights.T
        through_penalty = -2 * self.share * (self.duals * betas).sum() * self.rows
        if self.centre is None:
            return through_fit + through_penalty
        to_centre = -to_outputs.sum(0) @ self._weights.T  # the other parts sum to 0: rows and targets are centred
        return through_fit + through_penalty + to_centre / len(self.rows)

    @property
    def _weights(self) -> Float[Tensor, "dim classes"]:
        return self.rows.T @ self.duals

    def _seen(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries dim"]:
        return queries if self.centre is None else queries - self.centre


def fit_probe(
    features: Float[Tensor, "rows dim"], targets: Float[Tensor, "rows classes"], *, share: float, intercept: bool
) -> RidgeProbe:
    """W = Zᵀ (Z Zᵀ + λ I)⁻¹ Y with λ = share · |Z|²; with `intercept` of Z and Y less their means (baselines.md 5)."""
    centre, offset = (features.mean(0), targets.mean(0)) if intercept else (None, None)
    rows = features if centre is None else features - centre
    wanted = targets if offset is None else targets - offset
    penalty = share * rows.square().sum()
    if penalty == 0:
        raise SettingsError(
            "a probe can't learn from features that are all equal",
            "check that the images differ, and the backbone's mean and std",
        )
    factor = torch.linalg.cholesky(rows @ rows.T + penalty * torch.eye(len(rows)).to(rows))
    return RidgeProbe(rows, factor, torch.cholesky_solve(wanted, factor), share, centre, offset)
