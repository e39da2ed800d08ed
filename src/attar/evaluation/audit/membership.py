"""Can an attacker tell from a distilled set who was in the training data (evaluation.md 11.8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_RESAMPLES = 1000


@dataclass(frozen=True)
class Membership:
    """Area under the ROC curve of "nearer to the set, hence a member", with its 95 % interval; 0.5 is no signal."""

    backbone: str
    auc: float
    low: float
    high: float


def membership(
    backbone: str, members: Float[np.ndarray, " members"], others: Float[np.ndarray, " others"], *, seed: int = 0
) -> Membership:
    """How well the largest cosine to any distilled image tells training images (`members`) from `others`.

    Members and others are resampled independently, 1000 times.
    """
    random = np.random.default_rng(seed)
    levels, place = np.unique(np.concatenate([members, others]), return_inverse=True)
    inside, outside = place[: len(members)], place[len(members) :]

    def drawn(places: np.ndarray) -> np.ndarray:
        return np.bincount(random.choice(places, len(places)), minlength=len(levels))

    aucs = [_auc(drawn(inside), drawn(outside)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(aucs, [2.5, 97.5])
    exact = _auc(np.bincount(inside, minlength=len(levels)), np.bincount(outside, minlength=len(levels)))
    return Membership(backbone, exact, float(low), float(high))


def _auc(members: np.ndarray, others: np.ndarray) -> float:
    """Of counts at each level of the score: the share of pairs in which the member's is larger, ties counting half."""
    below = np.cumsum(others) - others
    return float((members * (below + others / 2)).sum() / (members.sum() * others.sum()))
