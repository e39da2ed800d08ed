"""Softmax regression on features, solved to convergence (evaluation.md 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import logsumexp

_STARTS = 4


@dataclass(frozen=True)
class LinearClassifier:
    """Logits `features @ weights.T + bias`; `converged` and `iterations` say how the solver ended."""

    weights: Float[np.ndarray, "classes dim"]
    bias: Float[np.ndarray, " classes"]
    converged: bool = True
    iterations: int = 0

    def logits(self, features: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows classes"]:
        """`features @ weights.T + bias`."""
        return features @ self.weights.T + self.bias

    def predict(self, features: Float[np.ndarray, "rows dim"]) -> Int[np.ndarray, " rows"]:
        """The class with the largest logit for each row."""
        return np.argmax(self.logits(features), axis=1)


def softmax_regression(
    features: Float[np.ndarray, "rows dim"],
    labels: Int[np.ndarray, " rows"],
    classes: int,
    *,
    penalty: float,
    row_weights: Float[np.ndarray, " rows"] | None = None,
    start: LinearClassifier | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 2000,
) -> LinearClassifier:
    """Minimise (1/Σω) Σ ω_i CE_i + penalty/2 · |W|², intercept unpenalised, in float64.

    L-BFGS with memory 10 and a strong-Wolfe line search (SciPy), until the largest entry of the gradient is below
    tolerance · max(1, that at zero) or what is left to gain is below float64's resolution of the objective, at most
    `max_iterations`. `row_weights` are the ω (1 by default), `start` a
    solution to begin from.
    """
    rows, dim = features.shape
    x = np.ascontiguousarray(features, dtype=np.float64)
    omega = np.ones(rows) if row_weights is None else np.asarray(row_weights, dtype=np.float64)
    omega = omega / omega.sum()
    target = np.zeros((rows, classes))
    target[np.arange(rows), labels] = 1

    def objective(flat):
        weights, bias = flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]
        logits = x @ weights.T + bias
        normaliser = logsumexp(logits, axis=1, keepdims=True)
        entropy = omega @ (normaliser[:, 0] - (target * logits).sum(1))
        residual = omega[:, None] * (np.exp(logits - normaliser) - target)
        gradient = np.concatenate([(residual.T @ x + penalty * weights).ravel(), residual.sum(0)])
        return entropy + 0.5 * penalty * (weights**2).sum(), gradient

    zero = np.zeros(classes * (dim + 1))
    limit = tolerance * max(1.0, float(np.abs(objective(zero)[1]).max()))
    first = zero if start is None else np.concatenate([start.weights.ravel(), start.bias])
    iterations, converged = 0, False
    for _ in range(_STARTS):  # a line search at float64's resolution may give up just above the limit
        left = max_iterations - iterations
        options = {"maxcor": 10, "gtol": limit, "ftol": 0.0, "maxiter": left, "maxfun": 10 * left}
        solved = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
        iterations, first = iterations + int(solved.nit), solved.x
        # Strong convexity: the objective is at most |gradient|² / (2 penalty) above its minimum.
        resolved = float((solved.jac**2).sum()) <= 2 * penalty * np.finfo(np.float64).eps * abs(float(solved.fun))
        converged = bool(float(np.abs(solved.jac).max()) <= limit or resolved)
        if converged or iterations >= max_iterations:
            break
    weights, bias = solved.x[: classes * dim].reshape(classes, dim), solved.x[classes * dim :]
    return LinearClassifier(weights, bias, converged, iterations)
