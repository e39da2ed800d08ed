"""A page of images before and after a refinement, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attar.distilled import preview

CLASSES, PAIRS = 10, 4


def shown(labels: Sequence[int]) -> list[int]:
    """Indices of the images that such a page has room for: at most `PAIRS` of each of the first `CLASSES` classes."""
    first = sorted(set(labels))[:CLASSES]
    return [index for label in first for index in [i for i, each in enumerate(labels) if each == label][:PAIRS]]


def before_after(
    before: Sequence[UInt8[np.ndarray, "3 _ _"]],
    after: Sequence[UInt8[np.ndarray, "3 side side"]],
    labels: Sequence[int],
    titles: Sequence[str],
) -> Image.Image:
    """A picture with a row for each class, and in it pairs: an image, and what became of it.

    Both have one size: images before are brought to that of those after (bicubic), as the model saw them.
    """
    side = after[0].shape[-1]
    pairs = np.stack([each for one, other in zip(before, after, strict=True) for each in (_resized(one, side), other)])
    there = sorted(set(labels))
    rows = [there.index(label) for label in labels for _ in ("before", "after")]
    return preview(pairs, rows, [f"{titles[label]}: before, after" for label in there])


def _resized(image: UInt8[np.ndarray, "3 _ _"], side: int) -> UInt8[np.ndarray, "3 {side} {side}"]:
    whole = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    return np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
