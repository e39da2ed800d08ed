"""Flow matching's further choices in loops, as sfm.md 6, 7 and 10 word them; nothing is shared with the library."""

import numpy as np


def empirical_flows(means: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(1/C) · sum of share · mean over classes, less the class's own share · mean, times -C; the rows."""
    total = sum(share * mean for share, mean in zip(shares, means, strict=True)) / len(means)
    return -len(means) * np.stack([total - share * mean for share, mean in zip(shares, means, strict=True)])


def flat_loss(real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 - cos of all flows as one vector."""
    return 1 - np.vdot(real, synthetic) / np.linalg.norm(real) / np.linalg.norm(synthetic)


def per_class_loss(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean over classes of 1 - cos."""
    return float(np.mean([flat_loss(one, other) for one, other in zip(real, synthetic, strict=True)]))


def spread_loss(real_traces: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the squared log-ratio of traces, from each class's covariance matrix."""
    traces = [np.trace(np.cov(features[labels == label].T, bias=True)) for label in range(len(real_traces))]
    return float(np.mean(np.log(np.array(traces) / real_traces) ** 2))


def ridgeless_probe(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weights [dim, classes], bias) of least squares with an intercept from one row a class to one-hot labels."""
    solution = np.linalg.lstsq(np.hstack([rows - rows.mean(0), np.ones((len(rows), 1))]), np.eye(len(rows)), rcond=None)
    weights = solution[0][:-1]
    return weights, solution[0][-1] - rows.mean(0) @ weights
