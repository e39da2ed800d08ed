"""The mismatch of BatchNorm statistics and its gradient, literally as in scdd.md 3.1, in NumPy's float64."""

import numpy as np


def mismatch(inputs: np.ndarray, mean: np.ndarray, var: np.ndarray) -> float:
    """|mean - known| + |variance - known| of inputs [n, channels, ...], over all but the channels."""
    found = np.array([inputs[:, channel].mean() for channel in range(inputs.shape[1])])
    spread = np.array([((inputs[:, c] - found[c]) ** 2).mean() for c in range(inputs.shape[1])])
    return float(np.sqrt(((found - mean) ** 2).sum()) + np.sqrt(((spread - var) ** 2).sum()))


def mismatch_gradient(inputs: np.ndarray, mean: np.ndarray, var: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """By central differences, entry by entry."""
    gradient = np.empty_like(inputs)
    for place in np.ndindex(inputs.shape):
        ahead, behind = inputs.copy(), inputs.copy()
        ahead[place] += h
        behind[place] -= h
        gradient[place] = (mismatch(ahead, mean, var) - mismatch(behind, mean, var)) / (2 * h)
    return gradient
