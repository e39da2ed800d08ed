"""Randomness by name: a draw depends on (seed, stream, step, image, view) and on nothing that happened before.

Hence any chunking, any number of processes and any resumed run draws the same numbers. The generator is NumPy's
Philox, a counter-based one: the names are its key and counter.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a draw is for; draws of different streams are independent."""

    CANVAS = 0  # a canvas' initial noise: step is the pyramid level's side
    SYNTHESIS = 1  # views of synthetic images
    STATISTICS = 2  # views of real images
    PROBE = 3  # views of images that a probe learns from
    HEADS = 4  # linear heads of gradient matching
    ORDER = 5  # the order of real images in batches, and which square of each is taken
    BATCH = 6  # views of real images in batches
    RECOVERY = 7  # a block of recovered images: its initial noise (view 0), its view in a step (view 1)
    STUDENT = 8  # batches that a student learns from: order, views of distilled images, mixing


def generator(seed: int, stream: Stream, *, step: int = 0, image: int = 0, view: int = 0) -> np.random.Generator:
    """A fresh generator for one name; 2^64 draws fit before it would meet another name's."""
    key = np.array([seed, int(stream)], dtype=np.uint64)
    counter = np.array([0, view, image, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
