"""Random images and the images nearest to their class mean."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from attar.errors import SettingsError


def random_images(labels: Int[np.ndarray, " n"], classes: int, ipc: int, *, seed: int) -> Int[np.ndarray, " chosen"]:
    """Indices of `ipc` images of each class, uniform without replacement, class by class."""
    _check_counts(labels, classes, ipc)
    random = np.random.default_rng([seed, ipc])
    members = (np.flatnonzero(labels == label) for label in range(classes))
    return np.concatenate([random.choice(indices, ipc, replace=False) for indices in members])


def centroid_images(
    features: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], classes: int, ipc: int
) -> Int[np.ndarray, " chosen"]:
    """Indices of the `ipc` images of each class nearest (Euclidean) to the mean feature; ties go to the lower index.

    Source: LGM's centroids baseline, for which ipc is 1.
    """
    _check_counts(labels, classes, ipc)
    chosen = []
    for label in range(classes):
        indices = np.flatnonzero(labels == label)
        rows = features[indices].astype(np.float64)
        distances = np.linalg.norm(rows - rows.mean(0), axis=1)
        chosen.append(indices[np.argsort(distances, kind="stable")[:ipc]])
    return np.concatenate(chosen)


def _check_counts(labels: np.ndarray, classes: int, ipc: int) -> None:
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < ipc:
        raise SettingsError(
            f"Class {int(counts.argmin())} has {counts.min()} images, fewer than the {ipc} asked for.",
            "Choose a smaller --ipc; synthetic images can be more than the real ones.",
        )
