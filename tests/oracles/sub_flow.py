"""The flow loss of sub-centres in loops, as sfm.md 10 words it; nothing here is shared with the library."""

import numpy as np


def sub_flow_loss(real: np.ndarray, synthetic: np.ndarray, shares: np.ndarray, w_mean: float, w_scale: float) -> float:
    """Of sub-centres [classes, count, dim] with their shares [classes, count], both regularisers included."""
    flows_real, flows = _flows(real, shares), _flows(synthetic, shares)
    length_real, length = np.sqrt(np.sum(flows_real**2)), np.sqrt(np.sum(flows**2))
    cosine = np.sum(flows_real * flows) / (length_real * length)

    means_real, means = _class_means(real, shares), _class_means(synthetic, shares)
    centre_real, centre = np.mean(means_real, axis=0), np.mean(means, axis=0)
    spread = sum(np.sum((mean - centre_real) ** 2) for mean in means_real)
    mean_loss = len(real) * np.sum((centre - centre_real) ** 2) / spread
    return 1 - cosine + w_mean * mean_loss + w_scale * np.log(length / length_real) ** 2


def _class_means(centres: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    return [np.average(own, axis=0, weights=share) for own, share in zip(centres, shares, strict=True)]


def _flows(centres: np.ndarray, shares: np.ndarray) -> np.ndarray:
    means = _class_means(centres, shares)
    flows = []
    for label, own in enumerate(centres):
        others = np.mean([mean for other, mean in enumerate(means) if other != label], axis=0)
        for centre, share in zip(own, shares[label], strict=True):
            flows.append(np.sqrt(share) * (others - centre))
    return np.concatenate(flows)
