"""The authors' `sfm_decouple`, class by class: mean squared errors of class means and of the means of the others."""

import numpy as np


def decoupled_loss(real: np.ndarray, synthetic: np.ndarray, alpha: float) -> float:
    """alpha · MSE(own means) + (1 - alpha) · MSE(means of all other classes)."""
    own = np.mean((real - synthetic) ** 2)
    others = np.mean([(_without(real, label) - _without(synthetic, label)) ** 2 for label in range(len(real))])
    return alpha * own + (1 - alpha) * others


def _without(means: np.ndarray, label: int) -> np.ndarray:
    return np.delete(means, label, axis=0).mean(0)
