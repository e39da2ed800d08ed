"""The images of each class, where each class has enough of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from attar.errors import SettingsError


def members(labels: Int[np.ndarray, " n"], classes: int, wanted: int) -> list[Int[np.ndarray, " members"]]:
    """Indices of the images of each of `classes` classes, ascending; SettingsError where one has under `wanted`."""
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < wanted:
        raise SettingsError(
            f"class {int(counts.argmin())} has {counts.min()} images, fewer than the {wanted} asked for",
            "Choose a smaller --ipc; synthetic images can be more than the real ones.",
        )
    return [np.flatnonzero(labels == label) for label in range(classes)]
