"""Probabilities that mean what they say: one temperature for all logits (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_LARGEST = 1e3


def temperature(logits: Float[np.ndarray, "rows classes"], labels: Int[np.ndarray, " rows"]) -> float:
    """What to divide logits by so that their softmax has the least cross-entropy on these rows; in 0.001..1000.

    The rows must be others than the classifier was fitted on. Labels are smoothed as if one row more had been seen of
    which nothing is known (Platt 1999), without which rows that are all right would make every answer certain. No
    order of classes changes.
    """
    rows, classes = logits.shape
    targets = np.full((rows, classes), 1 / (classes * (rows + 1)))
    targets[np.arange(rows), labels] += rows / (rows + 1)

    def entropy(log: float) -> float:
        return -float(np.mean((targets * log_softmax(logits / np.exp(log), axis=1)).sum(1)))

    bounds = (-np.log(_LARGEST), np.log(_LARGEST))
    return float(np.exp(minimize_scalar(entropy, bounds=bounds, method="bounded").x))
