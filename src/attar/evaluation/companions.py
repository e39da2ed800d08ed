"""Companions of `probe-v1`: other simple classifiers on the same rows, to see whether a ranking hangs on the probe."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.linear import ConvergedProbe, LinearClassifier, Scaling, converged_probe, ridge, softmax_regression

_PENALTIES = tuple(10 ** (-6 + 0.5 * step) for step in range(15))


def tuned_probe(
    features: Float[Tensor, "images views dim"],
    labels: Int[Tensor, " images"],
    classes: int,
    weights: Float[np.ndarray, " images"],
    held_out: Float[Tensor, "rows dim"],
    held_out_labels: Int[Tensor, " rows"],
) -> ConvergedProbe:
    """`probe-v1` with that of 15 penalties, 1e-6 to 10, that is best on the rows held out; ties go to the larger.

    Penalties are tried from large to small, each from the solution before.
    """
    scaling = Scaling("l2")
    rows = scaling(features.flatten(0, 1).double().numpy())
    targets = labels.repeat_interleave(features.shape[1]).numpy()
    omega = np.repeat(weights, features.shape[1]) / features.shape[1]
    known = scaling(held_out.double().numpy())
    best, best_right, solved = 0.0, -1.0, None
    for penalty in reversed(_PENALTIES):
        solved = softmax_regression(rows, targets, classes, penalty=penalty, row_weights=omega, start=solved)
        right = float(np.mean(solved.predict(known) == held_out_labels.numpy()))
        if right > best_right:
            best, best_right = penalty, right
    return converged_probe(features, labels, classes, transform="l2", penalty=best, weights=weights)


def ridge_probe(
    features: Float[Tensor, "images views dim"],
    labels: Int[Tensor, " images"],
    classes: int,
) -> ConvergedProbe:
    """Ridge regression to one-hot labels on features of length 1, the penalty by leaving images out (sfm.md 12)."""
    images, views, _ = features.shape
    scaling = Scaling("l2")
    rows = scaling(features.flatten(0, 1).double().numpy())
    targets = np.eye(classes)[labels.repeat_interleave(views).numpy()]
    fitted = ridge(rows, targets, groups=np.repeat(np.arange(images), views)).map
    return ConvergedProbe(scaling, LinearClassifier(fitted.weights.T, fitted.bias))


def nearest_neighbour(
    features: Float[Tensor, "images views dim"], labels: Int[Tensor, " images"], test: Float[Tensor, "test dim"]
) -> Int[np.ndarray, " test"]:
    """The class of the view with the largest cosine."""
    rows = torch.nn.functional.normalize(features.flatten(0, 1).double(), dim=1)
    nearest = torch.cat([(part.double() @ rows.T).argmax(1) for part in test.split(1024)])
    return labels.repeat_interleave(features.shape[1])[nearest].numpy()
