"""Targets beyond class means: vectors from which a probe learns more, and the metric in which to match (sfm.md 10).

All are found in feature space, from cached features, in float64: seconds, where the images take minutes. Images follow
a target only so far; benchmarks/targets.py says how far.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from attar import processes
from attar.features import RealFeatures
from attar.linear import LinearClassifier, converged_probe
from attar.linear.probe import PENALTY, TRANSFORM
from attar.synthesis.objectives.base import Rows
from attar.synthesis.objectives.clp import ClosedFormProbe, ProbeOptions

_ROWS = 50_000  # of real features at most: with more, a run would have to hold them all
# The temperature is sharper than the objective's own: trials on vectors chose it, and no script remakes them.
_PROBE = ProbeOptions(ridge=1.0, temperature=0.05, unit_length=True, intercept=False, batch=_ROWS)
_ITERATIONS = 100


def learned_vectors(
    real: RealFeatures, start: Float[Tensor, "classes count dim"]
) -> Float[Tensor, "classes count dim"]:
    """The vectors whose ridge probe gets the real features right: `ClosedFormProbe` by L-BFGS, from `start` on.

    The probe sees directions alone; the vectors are given back the mean and the extent of `start`. Source:
    arXiv 2605.07194, in feature space (baselines.md 5).
    """
    classes, count, _ = start.shape
    labels = torch.arange(classes).repeat_interleave(count)
    judge = ClosedFormProbe(*real.sample(_ROWS), classes, _PROBE).at(0)
    rows = Rows(torch.arange(len(labels)), torch.zeros_like(labels), labels)

    def loss(flat: Float[np.ndarray, " values"]) -> tuple[float, Float[np.ndarray, " values"]]:
        judged = judge(torch.from_numpy(flat).view(len(labels), -1), rows)
        return judged.loss, judged.gradient.numpy().ravel()

    first = torch.nn.functional.normalize(start.double().flatten(0, 1))
    found = minimize(loss, first.numpy().ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}).x
    directions = torch.nn.functional.normalize(torch.from_numpy(found).view_as(first))
    return processes.of_first(_placed_like(start.double(), directions.view_as(start)))


def probe_inverse(real: RealFeatures) -> Float[Tensor, "classes dim"]:
    """One vector a class from which a probe without penalty learns the converged probe of the real rows.

    In the units of the features, which the probe scales to length 1, and as far apart as the class means are.
    """
    values, labels = real.sample(_ROWS)
    probe = converged_probe(values[:, None], labels, real.classes, transform=TRANSFORM, penalty=PENALTY)
    means = real.statistics.means
    length = torch.linalg.vector_norm(means, dim=1).mean()
    mean, steps = inverse_of(probe.classifier, (means / length).mean(0).numpy())
    extent = torch.linalg.vector_norm(means - means.mean(0)) / np.linalg.norm(steps)
    return processes.of_first(length * torch.from_numpy(mean) + extent * torch.from_numpy(steps))


def inverse_of(
    classifier: LinearClassifier, centre: Float[np.ndarray, " dim"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, "classes dim"]]:
    """(a mean near `centre`, A): least squares with an intercept on mean + A, one row a class, is the classifier.

    Up to what all classes share. With its weights W [dim, classes], bias b and H = I - 11ᵀ/C: A = pinv(W H), and the
    mean is centre + (-b H - centre W H) A. Rows mean + a A, for any a > 0, give a classifier of the same decisions.
    """
    weights = (classifier.weights - classifier.weights.mean(0)).T
    steps = np.linalg.pinv(weights)
    missing = classifier.bias.mean() - classifier.bias - centre @ weights
    return centre + missing @ steps, steps


def whitening(within: Float[Tensor, "dim dim"], shrinkage: float) -> Float[Tensor, "dim dim"]:
    """Σ^(-1/2), the symmetric root: features times it have the same scatter within classes in all directions.

    Σ is the covariance `within` classes, drawn towards its mean variance times the identity by `shrinkage`, 0..1.
    """
    variance = within.diagonal().mean()
    values, vectors = torch.linalg.eigh(
        (1 - shrinkage) * within + shrinkage * variance * torch.eye(len(within)).to(within)
    )
    return vectors / values.sqrt() @ vectors.T


def _placed_like(
    model: Float[Tensor, "classes count dim"], vectors: Float[Tensor, "classes count dim"]
) -> Float[Tensor, "classes count dim"]:
    """`vectors` moved and scaled as a whole, to the mean of `model` and class means as far apart."""
    gaps, model_gaps = (each.mean(1) - each.mean((0, 1)) for each in (vectors, model))
    scale = torch.linalg.vector_norm(model_gaps) / torch.linalg.vector_norm(gaps)
    return model.mean((0, 1)) + scale * (vectors - vectors.mean((0, 1)))
