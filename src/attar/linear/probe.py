"""Softmax regression behind a scaling of the features, solved to convergence: `probe-v1` (evaluation.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import EvaluationError
from attar.linear.softmax import LinearClassifier, softmax_regression

TRANSFORM: Literal["l2"] = "l2"  # of probe-v1, as its penalty: benchmarks/probe_defaults.py
PENALTY = 1e-3


@dataclass(frozen=True)
class Scaling:
    """How features are scaled before a converged probe; fitted on the training rows alone."""

    kind: str
    shift: Float[np.ndarray, " dim"] | None = None
    scale: Float[np.ndarray, " dim"] | None = None

    @classmethod
    def fit(cls, kind: str, rows: Float[np.ndarray, "rows dim"]):
        """ "l2" divides each row by its length; "std" standardises columns and drops those that don't vary; "none"."""
        if kind != "std":
            return cls(kind)
        deviation = rows.std(0)
        inverse = np.zeros_like(deviation)
        varying = deviation > 0
        inverse[varying] = 1 / (deviation[varying] + 1e-6)
        return cls(kind, rows.mean(0), inverse)

    def __call__(self, rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
        if self.kind == "none":
            return rows
        if self.kind == "l2":
            return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return (rows - self.shift) * self.scale


@dataclass(frozen=True)
class ConvergedProbe:
    """A scaling and the classifier fitted behind it."""

    scaling: Scaling
    classifier: LinearClassifier

    def logits(self, features: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows classes"]:
        """Logits of raw features."""
        return self.classifier.logits(self.scaling(features.astype(np.float64)))

    def cooled(self, temperature: float) -> ConvergedProbe:
        """The same classes with logits divided by `temperature`."""
        weights, bias = self.classifier.weights / temperature, self.classifier.bias / temperature
        return ConvergedProbe(self.scaling, LinearClassifier(weights, bias))

    def predict(self, features: Float[np.ndarray, "rows dim"]) -> Int[np.ndarray, " rows"]:
        """Classes of raw features."""
        return np.argmax(self.logits(features), axis=1)


def converged_probe(
    features: Float[Tensor, "images views dim"],
    labels: Int[Tensor, " images"],
    classes: int,
    *,
    transform: str,
    penalty: float,
    weights: Float[np.ndarray, " images"] | None = None,
) -> ConvergedProbe:
    """`probe-v1`: softmax regression to convergence, each view weighing its image's weight / views.

    EvaluationError where the solver does not converge.
    """
    images, views, _ = features.shape
    rows = features.flatten(0, 1).double().numpy()
    scaling = Scaling.fit(transform, rows)
    omega = np.repeat(np.ones(images) if weights is None else weights, views) / views
    targets = labels.repeat_interleave(views).numpy()
    classifier = softmax_regression(scaling(rows), targets, classes, penalty=penalty, row_weights=omega)
    if not classifier.converged:
        raise EvaluationError(
            f"the probe did not converge in {classifier.iterations} iterations at penalty {penalty:g}",
            "Features may be far from unit scale; check the backbone's mean and std.",
        )
    return ConvergedProbe(scaling, classifier)
