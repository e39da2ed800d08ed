"""Random images, the images nearest to their class mean, and those nearest to k-means centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from attar.selection.members import members


def random_images(labels: Int[np.ndarray, " n"], classes: int, ipc: int, *, seed: int) -> Int[np.ndarray, " chosen"]:
    """Indices of `ipc` images of each class, uniform without replacement, class by class."""
    random = np.random.default_rng([seed, ipc])
    return np.concatenate([random.choice(indices, ipc, replace=False) for indices in members(labels, classes, ipc)])


def centroid_images(
    features: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    ipc: int,
    *,
    hashes: Sequence[bytes] | None = None,
) -> Int[np.ndarray, " chosen"]:
    """Indices of the `ipc` images of each class nearest (Euclidean) to the mean feature; ties go to the lower index.

    Of images of a class with equal `hashes` (`ImageSource.hashes`) only the first is taken, as long as there are
    others. Source: LGM's centroids baseline, for which ipc is 1.
    """
    chosen = []
    for indices in members(labels, classes, ipc):
        rows = features[indices].astype(np.float64)
        distances = np.linalg.norm(rows - rows.mean(0), axis=1)
        repeated = np.zeros(len(indices)) if hashes is None else _repeated([hashes[index] for index in indices])
        chosen.append(indices[np.lexsort((distances, repeated))[:ipc]])
    return np.concatenate(chosen)


def kmeans_images(
    features: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], classes: int, ipc: int, *, seed: int = 0
) -> tuple[Int[np.ndarray, " chosen"], Float[np.ndarray, " chosen"]]:
    """For each of `ipc` k-means centres of a class the nearest image, and its weight ipc · |cluster| / |class|.

    scikit-learn's k-means++ with 10 restarts; an image is taken once, larger clusters choose first.
    """
    from sklearn.cluster import KMeans

    chosen, weights = [], []
    for indices in members(labels, classes, ipc):
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


def _repeated(hashes: Sequence[bytes]) -> Int[np.ndarray, " n"]:
    """1 for each entry that stands further up already, else 0."""
    first = {entry: place for place, entry in reversed(list(enumerate(hashes)))}
    return np.array([int(first[entry] < place) for place, entry in enumerate(hashes)])
