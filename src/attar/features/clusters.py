"""Clusters within each class: which images a sub-centre stands for."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int

from attar.errors import SettingsError

_ROUNDS = 20


def sub_clusters(
    features: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    count: int,
    *,
    equal: bool = True,
    seed: int = 0,
) -> Int[np.ndarray, " n"]:
    """For each image its cluster, 0..count-1 within its class: k-means, the largest cluster first.

    scikit-learn's k-means++ with 10 restarts in float64. With `equal` the clusters of a class differ by at most one
    image: from k-means' centres on, the cheapest balanced assignment and the means of its clusters alternate. Clusters
    of one size are numbered by their first image; none is empty. SettingsError where a class has fewer images than
    `count`.

    >>> points = np.array([[9.0], [0.0], [8.0], [1.0], [2.0]])
    >>> sub_clusters(points, np.zeros(5, dtype=np.int64), classes=1, count=2).tolist()
    [1, 0, 1, 0, 0]
    """
    sizes = np.bincount(labels, minlength=classes)
    if sizes.min() < count:
        raise SettingsError(
            f"class {int(sizes.argmin())} has {sizes.min()} images, fewer than its {count} sub-centres",
            "choose a smaller --ipc; class means need no such number: --set method=sfm",
        )
    clusters = np.zeros(len(labels), dtype=np.int64)
    if count == 1:
        return clusters
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        rows = features[members].astype(np.float64)
        found = _kmeans(rows, count, seed)
        clusters[members] = _largest_first(_balance(rows, found, count) if equal else found, count)
    return clusters


def _kmeans(rows: Float[np.ndarray, "n dim"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal rows, which _fill_empty shares out
        fitted = KMeans(count, n_init=10, max_iter=100, random_state=seed).fit(rows)
    distances = np.linalg.norm(rows - fitted.cluster_centers_[fitted.labels_], axis=1)
    return _fill_empty(fitted.labels_.astype(np.int64), distances, count)


def _fill_empty(
    clusters: Int[np.ndarray, " n"], distances: Float[np.ndarray, " n"], count: int
) -> Int[np.ndarray, " n"]:
    """Give each empty cluster the row farthest from its centre, of those that leave no cluster empty behind."""
    clusters = clusters.copy()
    for empty in np.flatnonzero(np.bincount(clusters, minlength=count) == 0):
        sizes = np.bincount(clusters, minlength=count)
        clusters[np.argmax(np.where(sizes[clusters] > 1, distances, -1))] = empty
    return clusters


def _balance(rows: Float[np.ndarray, "n dim"], clusters: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """Clusters of equal size, or one more for those that were the largest, near the given ones."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    clusters = _largest_first(clusters, count)
    seats = np.sort(np.arange(len(rows)) % count)
    for _ in range(_ROUNDS):
        centres = np.stack([rows[clusters == cluster].mean(0) for cluster in range(count)])
        balanced = seats[linear_sum_assignment(cdist(rows, centres, "sqeuclidean")[:, seats])[1]]
        if np.array_equal(balanced, clusters):
            break
        clusters = balanced
    return clusters


def _largest_first(clusters: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """The same clusters numbered by size, those of one size by their first member; none may be empty."""
    _, first, sizes = np.unique(clusters, return_index=True, return_counts=True)
    number = np.empty(count, dtype=np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(count)
    return number[clusters]
