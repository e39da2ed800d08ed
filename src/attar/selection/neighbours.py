"""The real images that look most like the images of a distilled set."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from attar.errors import SettingsError


def neighbour_images(
    features: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    set_features: Float[np.ndarray, "images dim"],
    set_labels: Int[np.ndarray, " images"],
) -> Int[np.ndarray, " images"]:
    """For each distilled image the index of the most similar (cosine) real image of its class, class by class.

    Within a class in the order of the set. An image is taken once: the most similar pair of a class comes first, then
    the most similar of what is left; ties go to the lower index. SettingsError where a class has fewer real images
    than distilled ones. Source: LGM's neighbours baseline, which may take an image twice (baselines.md 2).
    """
    chosen = []
    for label in range(classes):
        real, distilled = np.flatnonzero(labels == label), np.flatnonzero(set_labels == label)
        if len(real) < len(distilled):
            raise SettingsError(
                f"class {label} has {len(real)} images, fewer than the {len(distilled)} distilled ones",
                "Compare with a set of fewer images per class.",
            )
        chosen.append(real[_matched(_directions(set_features[distilled]) @ _directions(features[real]).T)])
    return np.concatenate(chosen)


def _matched(similarity: Float[np.ndarray, "few many"]) -> Int[np.ndarray, " few"]:
    """A column for each row, none twice, by taking the largest entry again and again."""
    left = similarity.copy()
    columns = np.zeros(len(left), dtype=np.int64)
    for _ in range(len(left)):
        row, column = np.unravel_index(np.argmax(left), left.shape)
        columns[row] = column
        left[row] = left[:, column] = -np.inf
    return columns


def _directions(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
