"""Numbers from predictions: means, intervals over seeds, paired differences (evaluation.md 5, DESIGN's rules)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """Accuracy in percent: mean over seeds, their unbiased deviation, and the 95 % t-interval, cut off
    at 0 and 100 (None for one seed)."""

    accuracy: float
    std: float
    ci95: tuple[float, float] | None


def summarise(accuracies: list[float]) -> Summary:
    """Mean, deviation and interval over independent seeds, of accuracies in percent."""
    values = np.array(accuracies, dtype=np.float64)
    if len(values) == 1:
        return Summary(float(values[0]), 0.0, None)
    mean, std = float(values.mean()), float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * std / np.sqrt(len(values))
    return Summary(mean, std, (max(mean - half, 0.0), min(mean + half, 100.0)))


@dataclass(frozen=True)
class Difference:
    """Mean difference of accuracies in points, with the 95 % interval of a paired bootstrap."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "above": the interval lies above 0; "not below": it ends above -1.5 with a mean of -0.3 or more."""
        if self.low > 0:
            return "above"
        if self.high < 0:
            return "below"
        return "not below" if self.low > -1.5 and self.mean >= -0.3 else "undecided"


def paired_difference(
    first: Float[np.ndarray, "runs_a test"],
    second: Float[np.ndarray, "runs_b test"],
    labels: Int[np.ndarray, " test"],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Difference of the accuracies of two methods, given as correctness in 0..1 on the same test images.

    Test images are resampled jointly and within their class (`labels`), each method's runs (distillation seeds)
    independently.
    """
    random = np.random.default_rng(seed)
    tests = first.shape[1]
    drawn = np.empty(resamples)
    for start in range(0, resamples, 500):
        size = min(500, resamples - start)
        weights = np.empty((size, tests))
        for members in (np.flatnonzero(labels == label) for label in np.unique(labels)):
            share = np.full(len(members), 1 / len(members))
            weights[:, members] = random.multinomial(len(members), share, size=size) / tests
        per_run_a, per_run_b = weights @ first.T, weights @ second.T
        runs_a = random.integers(len(first), size=(size, len(first)))
        runs_b = random.integers(len(second), size=(size, len(second)))
        a = np.take_along_axis(per_run_a, runs_a, 1).mean(1)
        b = np.take_along_axis(per_run_b, runs_b, 1).mean(1)
        drawn[start : start + size] = a - b
    low, high = np.percentile(100 * drawn, [2.5, 97.5])
    return Difference(float(100 * (first.mean() - second.mean())), float(low), float(high))
