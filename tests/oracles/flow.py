"""The authors' flow loss, class by class and literally: non-target centre less target centre, one flat cosine."""

import numpy as np


def flow_loss(real: np.ndarray, synthetic: np.ndarray, *, divisor: int | None = None) -> float:
    """1 - cos of all flows flattened; `divisor` is what the synthetic sum over other classes is divided by."""
    flows_real, flows = _flows(real, len(real) - 1), _flows(synthetic, divisor or len(real) - 1)
    return 1 - np.sum(flows_real * flows) / np.sqrt(np.sum(flows_real**2) * np.sum(flows**2))


def _flows(means: np.ndarray, divisor: int) -> np.ndarray:
    total = means.sum(0)
    return np.stack([(total - mean) / divisor - mean for mean in means])
