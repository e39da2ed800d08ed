"""Near-duplicates between two sources: the same picture stored twice, compressed, scaled, brightened or mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from attar.evaluation.audit.correlation import standardised
from attar.evaluation.audit.hashes import LIMIT, nearest_hashes
from attar.evaluation.audit.thumbnails import Thumbnails
from attar.images.source import ImageSource

_ALIKE = 0.9  # flat or dark pictures share hashes by chance; their pixels don't correlate


@dataclass(frozen=True)
class Duplicate:
    """An image and the training image that it repeats: their positions, names, and how much they are alike."""

    index: int
    name: str
    train_index: int
    train_name: str
    distance: int
    """Bits in which the hashes differ, of 64."""
    correlation: float
    """Of the whole grey pictures, 64 pixels a side."""


def near_duplicates(test: ImageSource, train: ImageSource) -> Int[np.ndarray, " found"]:
    """Indices of the images in `test` that repeat one of `train`, for an accuracy without them.

    A repetition has a perceptual hash within 8 of 64 bits, upright or mirrored, and correlates by at least 0.9. Other
    crops of the same picture are not found. Every image is read once; 10,000 against a million cost minutes.
    """
    found = find_duplicates(Thumbnails.of(test), Thumbnails.of(train))
    return np.array([each.index for each in found], dtype=np.int64)


def find_duplicates(test: Thumbnails, train: Thumbnails) -> tuple[Duplicate, ...]:
    """The images of `test` that repeat one of `train`, each with the nearest."""
    nearest, distances = nearest_hashes(test.small, train.small)
    close = np.flatnonzero(distances <= LIMIT)
    if len(close) == 0:
        return ()
    ours = standardised(test.small[close].float() / 255)
    theirs = standardised(train.small[nearest[close]].float() / 255)
    upright, mirrored = ((one * theirs).sum((1, 2)) for one in (ours, ours.flip(-1)))
    alike = torch.maximum(upright, mirrored).tolist()
    return tuple(
        Duplicate(index, test.source.name(index), there, train.source.name(there), distance, correlation)
        for index, there, distance, correlation in zip(
            close.tolist(), nearest[close].tolist(), distances[close].tolist(), alike, strict=True
        )
        if correlation >= _ALIKE
    )
