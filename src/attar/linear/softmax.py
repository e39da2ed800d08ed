"""Softmax regression on features, solved to convergence (evaluation.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import logsumexp, softmax

_NEWTON_STEPS = 5
_CG_STEPS = 200


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

    L-BFGS with memory 10 and a strong-Wolfe line search (SciPy), at most `max_iterations`, and where that stops early a
    few Newton steps, until the largest entry of the gradient is below tolerance · max(1, that at zero). `row_weights`
    are the ω (1 by default), `start` a solution to begin from.
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

    def curvature(flat: Float[np.ndarray, " n"], direction: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The Hessian at `flat` times `direction`."""
        weights, bias = flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]
        shares = softmax(x @ weights.T + bias, axis=1)
        turn, shift = direction[: classes * dim].reshape(classes, dim), direction[classes * dim :]
        change = x @ turn.T + shift
        residual = omega[:, None] * shares * (change - (shares * change).sum(1, keepdims=True))
        return np.concatenate([(residual.T @ x + penalty * turn).ravel(), residual.sum(0)])

    zero = np.zeros(classes * (dim + 1))
    limit = tolerance * max(1.0, float(np.abs(objective(zero)[1]).max()))
    first = zero if start is None else np.concatenate([start.weights.ravel(), start.bias])
    options = {"maxcor": 10, "gtol": limit, "ftol": 0.0, "maxiter": max_iterations, "maxfun": 10 * max_iterations}
    solved = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    flat, gradient = solved.x, solved.jac
    # The line search stops where float64 sees no gain in the objective; Newton's steps need the gradient alone.
    for _ in range(_NEWTON_STEPS if solved.nit < max_iterations else 0):
        if np.abs(gradient).max() <= limit:
            break
        hessian = LinearOperator((len(flat), len(flat)), matvec=partial(curvature, flat), dtype=np.float64)
        flat = flat - cg(hessian, gradient, rtol=1e-4, maxiter=_CG_STEPS)[0]
        gradient = objective(flat)[1]
    converged = bool(np.abs(gradient).max() <= limit)
    weights, bias = flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]
    return LinearClassifier(weights, bias, converged, int(solved.nit))
