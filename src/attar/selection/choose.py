"""Random images, the images nearest to their class mean, and those nearest to k-means centres."""

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


def kmeans_images(
    features: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], classes: int, ipc: int, *, seed: int = 0
) -> tuple[Int[np.ndarray, " chosen"], Float[np.ndarray, " chosen"]]:
    """For each of `ipc` k-means centres of a class the nearest image, and its weight ipc · |cluster| / |class|.

    scikit-learn's k-means++ with 10 restarts; an image is taken once, larger clusters choose first.
    """
    from sklearn.cluster import KMeans

    _check_counts(labels, classes, ipc)
    chosen, weights = [], []
    for label in range(classes):
        indices = np.flatnonzero(labels == label)
        rows = features[indices].astype(np.float64)
        means = KMeans(ipc, n_init=10, max_iter=100, random_state=seed).fit(rows)
        sizes = np.bincount(means.labels_, minlength=ipc)
        free = np.ones(len(indices), dtype=bool)
        for cluster in np.argsort(-sizes, kind="stable"):
            distances = np.linalg.norm(rows - means.cluster_centers_[cluster], axis=1)
            nearest = int(np.argmin(np.where(free, distances, np.inf)))
            free[nearest] = False
            chosen.append(indices[nearest])
            weights.append(ipc * sizes[cluster] / len(indices))
    return np.array(chosen), np.array(weights)


def _check_counts(labels: np.ndarray, classes: int, ipc: int) -> None:
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < ipc:
        raise SettingsError(
            f"Class {int(counts.argmin())} has {counts.min()} images, fewer than the {ipc} asked for.",
            "Choose a smaller --ipc; synthetic images can be more than the real ones.",
        )
