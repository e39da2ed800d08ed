"""Holding out a part of a source, the same part every time."""

from __future__ import annotations

import numpy as np

from attar.errors import ImageError, SettingsError
from attar.images.source import ImageSource


def split(source: ImageSource, fraction: float = 0.1, seed: int = 0) -> tuple[ImageSource, ImageSource]:
    """(kept, held out): `fraction` of each class is held out, rounded, at least one image and never all of them.

    Which images is a function of the labels, `fraction` (between 0 and 1) and `seed` alone; both parts keep the
    source's order. Raises SettingsError for another fraction, ImageError for a class with fewer than two images.

    >>> from attar.images import DigitsSource
    >>> kept, held_out = split(DigitsSource("all"), fraction=0.2)
    >>> len(kept), len(held_out)
    (1438, 359)
    """
    if not 0 < fraction < 1:
        raise SettingsError(f"can't hold out a fraction of {fraction}", "Give a number between 0 and 1, such as 0.1.")
    held_out = np.zeros(len(source), dtype=bool)
    for label, name in enumerate(source.classes):
        members = np.flatnonzero(source.labels == label)
        if len(members) < 2:
            raise ImageError(
                f"class {name} in {source.location} has {len(members)} image(s): too few to hold one out",
                "Add images, or give a test set of its own.",
            )
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held_out[np.random.default_rng([seed, label]).permutation(members)[:count]] = True
    return source.subset(np.flatnonzero(~held_out)), source.subset(np.flatnonzero(held_out))
