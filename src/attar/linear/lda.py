"""Classifiers in closed form from class statistics: no features are kept, none is read again (sfm.md 12)."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.linalg
from jaxtyping import Float

from attar.errors import EvaluationError
from attar.features.statistics import ClassStatistics
from attar.linear.softmax import LinearClassifier


def ridge_classifier(statistics: ClassStatistics, penalty: float) -> LinearClassifier:
    """Ridge regression on one-hot labels: minimise |onehot − x W − b|² + penalty · |W|² over all rows.

    The same as `ridge` on the rows that the statistics were made of. `statistics` need their scatter, pooled or by
    class. EvaluationError without it, and where penalty 0 leaves the solution open.
    """
    counts, means = statistics.counts.double().numpy(), statistics.means.numpy()
    shares = counts / counts.sum()
    centre = shares @ means
    gaps = means - centre
    total = _within(statistics) + (counts[:, None] * gaps).T @ gaps
    weights = _solve(total, penalty, (counts[:, None] * gaps).T).T
    return LinearClassifier(weights, shares - weights @ centre)


def lda_classifier(statistics: ClassStatistics, shrinkage: float) -> LinearClassifier:
    """Linear discriminant analysis: Gaussian classes of equal covariance Σ, priors as in the statistics.

    Σ is the within-class covariance (over n, not n − classes), drawn towards its mean variance times the identity by
    `shrinkage`, 0..1. The `lda` row of the tables (baselines.md 7). `statistics` need their scatter, pooled or by
    class. EvaluationError without it, for a class without rows, and where Σ can't be inverted.
    """
    counts, means = statistics.counts.double().numpy(), statistics.means.numpy()
    if not 0 <= shrinkage <= 1:
        raise EvaluationError(
            f"a shrinkage of {shrinkage:g} is not within 0..1", "give a number from 0 to 1; 0.1 is a start"
        )
    if not counts.all():
        empty = int(np.argmin(counts))
        raise EvaluationError(f"class {empty} has no rows, so its prior is 0", "leave it out of the statistics")
    covariance = _within(statistics) / counts.sum()
    variance = float(np.trace(covariance)) / len(covariance)
    weights = _solve((1 - shrinkage) * covariance, shrinkage * variance, means.T).T
    return LinearClassifier(weights, np.log(counts / counts.sum()) - 0.5 * (weights * means).sum(1))


def _within(statistics: ClassStatistics) -> Float[np.ndarray, "dim dim"]:
    """The pooled scatter within classes."""
    if statistics.scatter is None:
        raise EvaluationError(
            "these class statistics carry no scatter, which a classifier needs",
            'make them with scatter="pooled"',
        )
    scatter = statistics.scatter.numpy()
    return scatter if scatter.ndim == 2 else scatter.sum(0)


def _solve(
    matrix: Float[np.ndarray, "dim dim"], penalty: float, sides: Float[np.ndarray, "dim classes"]
) -> Float[np.ndarray, "dim classes"]:
    """(matrix + penalty · I)⁻¹ · sides, or EvaluationError where that has no meaning."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", scipy.linalg.LinAlgWarning)
            return scipy.linalg.solve(matrix + penalty * np.eye(len(matrix)), sides, assume_a="pos")
    except (np.linalg.LinAlgError, scipy.linalg.LinAlgWarning) as error:
        raise EvaluationError(
            "the scatter can't be inverted: there are fewer rows than dimensions, or some don't vary",
            "give a penalty or a shrinkage above 0",
        ) from error
