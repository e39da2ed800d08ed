"""Clusters within each class: which images a sub-centre stands for."""

from __future__ import annotations

import itertools
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
    from scipy.spatial.distance import cdist

    clusters = _largest_first(clusters, count)
    sizes = np.bincount(np.arange(len(rows)) % count)
    prices = np.zeros(count)
    for _ in range(_ROUNDS):
        centres = np.stack([rows[clusters == cluster].mean(0) for cluster in range(count)])
        balanced, prices = _assign(cdist(rows, centres, "sqeuclidean"), sizes, prices)
        if np.array_equal(balanced, clusters):
            break
        clusters = balanced
    return clusters


def _assign(
    cost: Float[np.ndarray, "n count"], sizes: Int[np.ndarray, " count"], prices: Float[np.ndarray, " count"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " count"]]:
    """(the cheapest assignment that gives each cluster its size, prices that lead to it); exact, from any prices.

    Where each row takes the cluster with the least cost less price, no assignment of the same sizes is cheaper.
    Successive shortest paths keep that so: each passes one row on from a cluster that has too many, over others, to one
    that has too few. Good prices, as those of nearby costs are, leave few paths to go.
    """
    count = len(sizes)
    clusters, prices = (cost - prices).argmin(1), prices.copy()
    over = np.bincount(clusters, minlength=count) - sizes
    ways, movers = np.empty((count, count)), np.empty((count, count), dtype=np.int64)
    changed = list(range(count))
    while over.any():
        for cluster in changed:
            ways[cluster], movers[cluster] = _moves(cost, prices, clusters, cluster)
        changed, rise = _shortest_path(ways, over)
        for here, there in itertools.pairwise(changed):
            clusters[movers[here, there]] = there
        over[changed[0]] -= 1
        over[changed[-1]] += 1
        prices += rise
        ways = np.maximum(ways + rise[:, None] - rise, 0)  # below 0 by rounding alone
    return clusters, prices


def _moves(
    cost: Float[np.ndarray, "n count"],
    prices: Float[np.ndarray, " count"],
    clusters: Int[np.ndarray, " n"],
    cluster: int,
) -> tuple[Float[np.ndarray, " count"], Int[np.ndarray, " count"]]:
    """What the cheapest move of a row of `cluster` to each of them costs beyond the prices' difference, and its row."""
    members = np.flatnonzero(clusters == cluster)
    if not len(members):
        return np.full(len(prices), np.inf), np.zeros(len(prices), dtype=np.int64)
    extra = cost[members] - cost[members, cluster, None]
    cheapest = extra.argmin(0)
    gaps = extra[cheapest, np.arange(len(prices))] - (prices - prices[cluster])
    return np.maximum(gaps, 0), members[cheapest]


def _shortest_path(
    ways: Float[np.ndarray, "count count"], over: Int[np.ndarray, " count"]
) -> tuple[list[int], Float[np.ndarray, " count"]]:
    """(the clusters from one with `over` above 0 to the nearest one below 0, the rise in prices): Dijkstra's algorithm.

    After the rise no way is negative, and those of the path have length 0.
    """
    distances = np.where(over > 0, 0, np.inf)
    before, ahead = np.full(len(over), -1), np.ones(len(over), dtype=bool)
    here = int(distances.argmin())
    while over[here] >= 0:
        ahead[here] = False
        reached = distances[here] + ways[here]
        nearer = ahead & (reached < distances)
        distances[nearer], before[nearer] = reached[nearer], here
        here = int(np.where(ahead, distances, np.inf).argmin())
    path = [here]
    while before[path[0]] >= 0:
        path.insert(0, int(before[path[0]]))
    return path, np.minimum(distances, distances[here])


def _largest_first(clusters: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """The same clusters numbered by size, those of one size by their first member; none may be empty."""
    _, first, sizes = np.unique(clusters, return_index=True, return_counts=True)
    number = np.empty(count, dtype=np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(count)
    return number[clusters]
