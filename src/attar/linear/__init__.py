"""Linear models on features: pure functions."""

from attar.linear.softmax import LinearClassifier, softmax_regression

__all__ = ["LinearClassifier", "softmax_regression"]
