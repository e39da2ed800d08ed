"""Linear models on features: pure functions."""

from attar.linear.probe import ConvergedProbe, Scaling, converged_probe
from attar.linear.softmax import LinearClassifier, softmax_regression

__all__ = ["ConvergedProbe", "LinearClassifier", "Scaling", "converged_probe", "softmax_regression"]
