"""Probes: linear classifiers trained on a few images' features (evaluation.md 2, 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import EvaluationError
from attar.linear import LinearClassifier, softmax_regression


@dataclass(frozen=True)
class Scaling:
    """How features are scaled before a converged probe; fitted on the training rows alone."""

    kind: str
    shift: Float[np.ndarray, " dim"] | None = None
    scale: Float[np.ndarray, " dim"] | None = None

    @classmethod
    def fit(cls, kind: str, rows: Float[np.ndarray, "rows dim"]):
        """ "l2" divides each row by its length; "std" standardises columns and drops those that don't vary."""
        if kind == "l2":
            return cls(kind)
        deviation = rows.std(0)
        inverse = np.zeros_like(deviation)
        varying = deviation > 0
        inverse[varying] = 1 / (deviation[varying] + 1e-6)
        return cls(kind, rows.mean(0), inverse)

    def __call__(self, rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
        if self.kind == "l2":
            return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return (rows - self.shift) * self.scale


@dataclass(frozen=True)
class ConvergedProbe:
    """A scaling and the classifier fitted behind it."""

    scaling: Scaling
    classifier: LinearClassifier

    def predict(self, features: Float[np.ndarray, "rows dim"]) -> Int[np.ndarray, " rows"]:
        """Classes of raw features."""
        return self.classifier.predict(self.scaling(features.astype(np.float64)))


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
            f"The probe did not converge in {classifier.iterations} iterations at penalty {penalty:g}.",
            "Features may be far from unit scale; check the backbone's mean and std.",
        )
    return ConvergedProbe(scaling, classifier)


def adam_probe(
    view: Callable[[int, Int[Tensor, " batch"]], Float[Tensor, "batch dim"]],
    labels: Int[Tensor, " images"],
    classes: int,
    dim: int,
    *,
    seed: int,
    epochs: int = 1000,
    batch: int = 100,
) -> LinearClassifier:
    """`lgm-probe`: Adam without decay on one fresh view of each image an epoch, as LGM's authors run it.

    `view(epoch, images)` gives features of a view of each of the images. The learning rate is 0.001 · batch / 256,
    falling to 0 along a cosine over the epochs; weights start from N(0, 0.01²); the last iterate is returned.
    Source: src/distillation/eval.py of linear-gradient-matching, on one GPU, in fp32.
    """
    random = torch.Generator().manual_seed(seed)
    weights = (0.01 * torch.randn(classes, dim, generator=random)).requires_grad_()
    bias = torch.zeros(classes, requires_grad=True)
    size = min(batch, len(labels))
    optimiser = torch.optim.Adam([weights, bias], lr=0.001 * size / 256, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for epoch in range(epochs):
        for images in torch.randperm(len(labels), generator=random).split(size):
            features = view(epoch, images)
            loss = torch.nn.functional.cross_entropy(features @ weights.T + bias, labels[images])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return LinearClassifier(weights.detach().numpy(), bias.detach().numpy(), iterations=epochs)


def bank_views(
    bank: Float[Tensor, "images views dim"], seed: int
) -> Callable[[int, Int[Tensor, " batch"]], Float[Tensor, "batch dim"]]:
    """For `adam_probe`: each time a random one of an image's cached views."""
    random = torch.Generator().manual_seed(seed + 2**32)

    def view(epoch: int, images: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        del epoch
        return bank[images, torch.randint(bank.shape[1], (len(images),), generator=random)]

    return view


def nearest_mean(
    means: Float[np.ndarray, "classes dim"], features: Float[np.ndarray, "rows dim"]
) -> Int[np.ndarray, " rows"]:
    """`ncm`: the class whose mean has the largest cosine with each feature."""
    return np.argmax(features @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T, axis=1)
