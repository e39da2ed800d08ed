"""Ridge regression whose penalty is chosen by what it predicts of rows, or groups of rows, left out (sfm.md 12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from attar.errors import EvaluationError
from attar.linear.softmax import LinearClassifier

_GRID = np.logspace(-6, 3, 41)  # times the mean squared singular value
_LEAST = 1e-8  # of the largest squared singular value; below, float64 has no residual left to measure


@dataclass(frozen=True)
class AffineMap:
    """`rows @ weights + bias`."""

    weights: Float[np.ndarray, "inputs outputs"]
    bias: Float[np.ndarray, " outputs"]

    def __call__(self, rows: Float[np.ndarray, "rows inputs"]) -> Float[np.ndarray, "rows outputs"]:
        return rows @ self.weights + self.bias

    def then(self, classifier: LinearClassifier) -> LinearClassifier:
        """Mapping, then classifying, as one classifier of the inputs."""
        weights = classifier.weights @ self.weights.T
        bias = classifier.weights @ self.bias + classifier.bias
        return LinearClassifier(weights, bias, classifier.converged, classifier.iterations)


@dataclass(frozen=True)
class Ridge:
    """A fitted map, and how its penalty was chosen.

    `press[k]` is the mean squared length of the residuals of rows left out at `penalties[k]`; `penalty` has the least.
    """

    map: AffineMap
    penalty: float
    penalties: Float[np.ndarray, " penalties"]
    press: Float[np.ndarray, " penalties"]


def ridge(
    x: Float[np.ndarray, "rows inputs"],
    y: Float[np.ndarray, "rows outputs"],
    *,
    penalties: Float[np.ndarray, " penalties"] | None = None,
    groups: Int[np.ndarray, " rows"] | None = None,
    judge: Float[np.ndarray, "outputs judged"] | None = None,
) -> Ridge:
    """Minimise |y − x P − q|² + penalty · |P|² over map P and bias q, in float64, one decomposition for all penalties.

    The penalty is the one of `penalties` (by default 41 from 1e-6 to 1e3 times the mean squared singular value of the
    centred `x`) that predicts best what is left out: a row at a time, or all rows with the same number in `groups`,
    such as the views of an image. Left-out residuals are exact, from the hat matrix, without fitting again. With
    `judge` they are measured after multiplication by it: with a classifier's `weights.T`, as errors of its logits.
    Penalties below 1e-8 times the largest squared singular value are raised to that.

    EvaluationError where nothing varies in `x`, where a penalty isn't above 0, or where all rows are in one group.

    >>> fit = ridge(np.array([[0.0], [1], [2], [3]]), np.array([[0.0], [1], [2], [4]]), penalties=np.array([1.0]))
    >>> [round(value.item(), 6) for value in (fit.map.weights, fit.map.bias, fit.press)]
    [1.083333, 0.125, 0.786236]
    """
    x_mean, y_mean = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    centred, targets = x - x_mean, y - y_mean
    squares, basis = _spectrum(centred)
    if squares.max() <= (np.finfo(np.float64).eps * len(x) * np.abs(x).max()) ** 2 * x.size:  # what rounding leaves
        raise EvaluationError("ridge regression has nothing to go by: all rows are equal", "check what made the rows")
    penalties = _GRID * squares.mean() if penalties is None else penalties
    if not (penalties > 0).all():
        raise EvaluationError(f"a ridge penalty must be above 0, not {penalties.min():g}", "leave `penalties` out")
    judged = targets if judge is None else targets @ judge
    blocks = _blocks(np.arange(len(x)) if groups is None else groups)
    penalties = penalties.clip(min=_LEAST * squares.max())
    press = np.array([_press(squares / (squares + penalty), basis, judged, blocks) for penalty in penalties])
    penalty = float(penalties[press.argmin()])
    weights = centred.T @ (basis @ ((basis.T @ targets) / (squares + penalty)[:, None]))
    return Ridge(AffineMap(weights, y_mean - x_mean @ weights), penalty, penalties, press)


def _spectrum(
    centred: Float[np.ndarray, "rows inputs"],
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, "rows rank"]]:
    """Squared singular values and left singular vectors; from the rows' Gram matrix where that is the smaller one."""
    rows, inputs = centred.shape
    if rows < inputs:
        squares, basis = np.linalg.eigh(centred @ centred.T)
        return squares.clip(min=0), basis
    basis, singular, _ = np.linalg.svd(centred, full_matrices=False)
    return singular**2, basis


def _blocks(groups: Int[np.ndarray, " rows"]) -> list[Int[np.ndarray, "_ _"]]:
    """The rows of each group, groups of the same size together."""
    _, counts = np.unique(groups, return_counts=True)
    if len(counts) < 2:
        raise EvaluationError("leaving out the only group leaves no rows", "give rows of at least two groups")
    members = np.split(np.argsort(groups), np.cumsum(counts)[:-1])
    return [np.stack([rows for rows in members if len(rows) == size]) for size in np.unique(counts)]


def _press(
    shares: Float[np.ndarray, " rank"],
    basis: Float[np.ndarray, "rows rank"],
    targets: Float[np.ndarray, "rows outputs"],
    blocks: list[Int[np.ndarray, "_ _"]],
) -> float:
    """Mean squared length of left-out residuals (I − H_gg)⁻¹ E_g, where H = 11ᵀ/n + basis · diag(shares) · basisᵀ.

    No share is above 1 − 1e-8, so no eigenvalue of I − H_gg is below 1e-8 times the share of rows outside the group.
    """
    residuals = targets - basis @ (shares[:, None] * (basis.T @ targets))
    total = 0.0
    for rows in blocks:
        part = basis[rows]
        kept = np.eye(rows.shape[1]) - 1 / len(targets) - (part * shares) @ part.swapaxes(1, 2)
        total += float((np.linalg.solve(kept, residuals[rows]) ** 2).sum())
    return total / len(targets)
