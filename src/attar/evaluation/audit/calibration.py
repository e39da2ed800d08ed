"""When is a likeness more than chance: p-values against held-out real images, and Benjamini-Hochberg."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

RATE = 0.05


def p_values(scores: Float[np.ndarray, " n"], null: Float[np.ndarray, " held_out"]) -> Float[np.ndarray, " n"]:
    """(1 + how many of `null` are at least as large) / (1 + len(null)): never 0, however large the score."""
    at_least = len(null) - np.searchsorted(np.sort(null), scores, side="left")
    return (1 + at_least) / (1 + len(null))


def discoveries(p: Float[np.ndarray, " n"], rate: float = RATE) -> Bool[np.ndarray, " n"]:
    """Which of `n` tests Benjamini and Hochberg (1995) reject: at most a share `rate` of them wrongly, on average."""
    order = np.argsort(p, kind="stable")
    passed = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p))
    flagged = np.zeros(len(p), dtype=bool)
    if len(passed):
        flagged[order[: passed[-1] + 1]] = True
    return flagged


def fewest_found(images: int, held_out: int) -> int:
    """How many copies there must be among `images` before `discoveries` can reject any, as p stops at 1/(1+held_out).

    >>> fewest_found(10, 199), fewest_found(10, 80), fewest_found(100, 199)
    (1, 3, 10)
    """
    return math.ceil(round(images / (RATE * (1 + held_out)), 9))


def wanted(images: int) -> int:
    """Held-out images with which a single copy among `images` can be found, between 200 and 2000."""
    return min(max(round(images / RATE), 200), 2000)
