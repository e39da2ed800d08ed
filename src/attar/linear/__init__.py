"""Linear models on features: pure functions."""

from attar.linear.calibration import temperature
from attar.linear.lda import lda_classifier, ridge_classifier
from attar.linear.probe import ConvergedProbe, Scaling, converged_probe
from attar.linear.ridge import AffineMap, Ridge, ridge
from attar.linear.softmax import LinearClassifier, softmax_regression

__all__ = [
    "AffineMap",
    "ConvergedProbe",
    "LinearClassifier",
    "Ridge",
    "Scaling",
    "converged_probe",
    "lda_classifier",
    "ridge",
    "ridge_classifier",
    "softmax_regression",
    "temperature",
]
