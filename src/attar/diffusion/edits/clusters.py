"""Clusters of the images of one class, and which of their members lie nearest to the centre."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import SettingsError

Algorithm = Literal["kmeans", "minibatch"]
_NEIGHBOURS = 10  # of the local outlier factor
_BATCH = 10  # images a cluster in a batch of mini-batch k-means, D4M's km_expand
_DECIMALS = 6  # distances that differ by less are equal


@dataclass(frozen=True)
class Clusters:
    """`members`: each row's cluster, -1 for an outlier; `centres` of the clusters, in the features' space."""

    members: Int[Tensor, " n"]
    centres: Float[Tensor, "k dim"]


def cluster(
    features: Float[Tensor, "n dim"],
    count: int,
    *,
    seed: int,
    algorithm: Algorithm = "kmeans",
    outliers: float = 0.0,
    name: str,
) -> Clusters:
    """`count` clusters of the rows of one class, called `name` in messages; scikit-learn's, seeded.

    kmeans       k-means++ with 10 restarts (EDITS, VLCP)
    minibatch    partial fits of 10 rows a cluster at a time, in the rows' order, the last ones too (D4M)

    `outliers` is the share of rows, 0 to .5, that the local outlier factor over 10 neighbours leaves out first. A
    cluster can be empty where rows repeat, and with minibatch. SettingsError where fewer rows than clusters are left.
    Source: edits.md 4.
    """
    if not 0 <= outliers <= 0.5:
        raise SettingsError(
            f"a share of {outliers:g} outliers isn't between 0 and 0.5", "Choose one in between; VLCP's is 0.1."
        )
    rows = features.numpy()
    usable = np.flatnonzero(_inliers(rows, outliers))
    if len(usable) < count:
        raise SettingsError(
            f'class "{name}" has {len(usable)} usable images but IPC is {count}; '
            "EDITS needs at least one image per cluster",
            "Choose a smaller --ipc, or add images.",
        )
    fit = _kmeans if algorithm == "kmeans" else _minibatch
    members = np.full(len(rows), -1)
    members[usable], centres = fit(rows[usable], count, seed)
    return Clusters(torch.from_numpy(members), torch.from_numpy(centres))


def nearest_members(features: Float[Tensor, "n dim"], clusters: Clusters, number: int, count: int) -> list[int]:
    """The `count` rows of cluster `number` nearest to its centre, nearest first; all of them where they are fewer.

    Distances that agree in 6 decimals count as equal, and then the earlier row is first (edits.md 5). Of a cluster
    without members the nearest rows of the class stand in.
    """
    inside = clusters.members == number
    if not inside.any():
        inside = clusters.members >= 0
    ids = inside.nonzero().flatten()
    gaps = features[ids].double() - clusters.centres[number].double()
    distances = gaps.norm(dim=1).round(decimals=_DECIMALS)
    return ids[distances.argsort(stable=True)][:count].tolist()


def _inliers(rows: Float[np.ndarray, "n dim"], outliers: float) -> np.ndarray:
    from sklearn.neighbors import LocalOutlierFactor

    neighbours = min(_NEIGHBOURS, len(rows) - 1)
    if outliers == 0 or neighbours < 1:
        return np.ones(len(rows), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rows that repeat
        return LocalOutlierFactor(n_neighbors=neighbours, contamination=outliers).fit_predict(rows) == 1


def _kmeans(rows: Float[np.ndarray, "n dim"], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that repeat
        fitted = KMeans(count, n_init=10, max_iter=300, tol=1e-4, random_state=seed).fit(rows)
    return fitted.labels_, fitted.cluster_centers_


def _minibatch(rows: Float[np.ndarray, "n dim"], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import MiniBatchKMeans

    size = _BATCH * count
    fitted = MiniBatchKMeans(count, batch_size=size, n_init="auto", random_state=seed)
    for start in range(0, len(rows), size):
        fitted.partial_fit(rows[start : start + size])
    return fitted.predict(rows), fitted.cluster_centers_
