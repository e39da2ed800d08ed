"""Coresets: images whose mean stays near the class mean (herding), and images that leave none far away (k-center)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from attar.selection.members import members


def herding_images(
    features: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], classes: int, ipc: int
) -> Int[np.ndarray, " chosen"]:
    """Indices of `ipc` images of each class, each taken so that the mean of those so far is nearest to the class mean.

    In the order of the picks, ties to the lower index. Source: baselines.md 2.1, the rule `exact`: it minimises
    ‖μ − (r + z)/j‖, where Welling's herding takes the largest ⟨w, z⟩; the two agree only for features of one length.

    >>> herding_images(np.array([[0.0], [1.0], [3.0]]), np.zeros(3, dtype=np.int64), 1, 2)
    array([1, 2])
    """
    chosen = []
    for indices in members(labels, classes, ipc):
        rows = features[indices].astype(np.float64)
        gap = rows - rows.mean(0)  # of each row to the class mean; gaps add up as the rows do
        total = np.zeros(rows.shape[1])
        free = np.ones(len(indices), dtype=bool)
        for _ in range(ipc):
            lengths = np.linalg.norm(total + gap, axis=1)
            pick = int(np.argmin(np.where(free, lengths, np.inf)))
            free[pick] = False
            total += gap[pick]
            chosen.append(indices[pick])
    return np.array(chosen)


def kcenter_images(
    features: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], classes: int, ipc: int
) -> Int[np.ndarray, " chosen"]:
    """Indices of `ipc` images of each class: that nearest to the mean, then always that furthest from its nearest pick.

    In the order of the picks, ties to the lower index. Greedy k-center, within twice the best covering radius
    (Gonzalez 1985); it picks outliers. Source: baselines.md 2.2.
    """
    chosen = []
    for indices in members(labels, classes, ipc):
        rows = features[indices].astype(np.float64)
        pick = int(np.argmin(np.linalg.norm(rows - rows.mean(0), axis=1)))
        nearest = np.full(len(indices), np.inf)  # distance to the nearest pick; -1 marks the picks themselves
        for _ in range(ipc):
            chosen.append(indices[pick])
            nearest = np.minimum(nearest, np.linalg.norm(rows - rows[pick], axis=1))
            nearest[pick] = -1
            pick = int(np.argmax(nearest))
    return np.array(chosen)
