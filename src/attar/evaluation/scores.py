"""Numbers from predictions: means, intervals, differences and their p-values (evaluation.md 5, DESIGN's rules).

Correctness is an array of one row a distillation seed and one column a test image: the share, 0..1, of the seed's
probes that were right on the image. Accuracies and differences are in percent and points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

_RESAMPLES = 10_000
_LEAST_GAP = 2.0  # points between random and full, below which their ratio says nothing


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
    """Mean difference of accuracies in points, with the 95 % interval and the two-sided p-value of a paired bootstrap.

    `p` is for `holm`, which corrects it for the number of comparisons in a table.
    """

    mean: float
    low: float
    high: float
    p: float

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
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Difference of the accuracies of two methods, given as correctness on the same test images.

    Test images are resampled jointly and within their class (`labels`), each method's runs (distillation seeds)
    independently. The p-value is twice the smaller share of resamples on one side of 0, at most 1.
    """
    return difference(first, second, *resampled((first, second), labels, resamples=resamples, seed=seed).T)


def difference(
    first: Float[np.ndarray, "runs_a test"],
    second: Float[np.ndarray, "runs_b test"],
    first_drawn: Float[np.ndarray, " resamples"],
    second_drawn: Float[np.ndarray, " resamples"],
) -> Difference:
    """`paired_difference` of methods that were resampled before, among others."""
    gaps = 100 * (first_drawn - second_drawn)
    low, high = np.percentile(gaps, [2.5, 97.5])
    beyond = min(np.count_nonzero(gaps <= 0), np.count_nonzero(gaps >= 0))
    p = min(1.0, 2 * (beyond + 1) / (len(gaps) + 1))  # never 0, which no finite number of resamples can show
    return Difference(float(100 * (first.mean() - second.mean())), float(low), float(high), p)


def gap_closed(accuracy: float, random: float, full: float) -> float | None:
    """How much of the way from random real images to the full data a method goes: 0 at random, 1 at full.

    Accuracies in percent. It may be negative, or above 1; None where full is less than 2 points above random.

    >>> gap_closed(50.0, 40.0, 80.0)
    0.25
    """
    return None if full - random < _LEAST_GAP else (accuracy - random) / (full - random)


def gap_interval(
    method: Float[np.ndarray, "runs_a test"],
    random: Float[np.ndarray, "runs_b test"],
    full: Float[np.ndarray, "runs_c test"],
    labels: Int[np.ndarray, " test"],
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % interval of the gap closed, from the correctness of all three on the same test images; None as the gap is.

    Two levels: test images are resampled jointly and within their class, the runs of each of the three independently.
    A resample in which full is not above random counts as one image above: such an interval is as wide as it should be.
    """
    if gap_closed(*(float(100 * each.mean()) for each in (method, random, full))) is None:
        return None
    drawn = resampled((method, random, full), labels, resamples=resamples, seed=seed)
    return gap_bounds(drawn[:, 0], drawn[:, 1], drawn[:, 2], len(labels))


def gap_bounds(
    method: Float[np.ndarray, " resamples"],
    random: Float[np.ndarray, " resamples"],
    full: Float[np.ndarray, " resamples"],
    tests: int,
) -> tuple[float, float]:
    """`gap_interval` of methods that were resampled before, among others."""
    low, high = np.percentile((method - random) / np.maximum(full - random, 1 / tests), [2.5, 97.5])
    return float(low), float(high)


def mcnemar(first: Bool[np.ndarray, " test"], second: Bool[np.ndarray, " test"]) -> float:
    """Exact two-sided p-value that two single runs have the same accuracy, from who was right on each test image.

    Only images on which one was right and the other wrong count: under the hypothesis a fair coin chose which
    (McNemar 1947, in its binomial form). It knows nothing of seeds: a check beside `paired_difference`.
    """
    only_first, only_second = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))
    differing = only_first + only_second
    return float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the order given: at most 5 % of tables have a wrong one below 0.05.

    The smallest of n is multiplied by n, the next by n - 1, and so on; none falls below its predecessor or exceeds 1
    (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.array(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return corrected.tolist()


def wilson(right: int | float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share, as fractions, from `right` of `n` (1 or more): good for small groups too.

    `right` need not be whole: it may be a mean over seeds, which tell of the same `n` images and make them no more.

    >>> low, high = wilson(45, 50)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.957)
    """
    z = float(stats.norm.ppf(0.975))
    share = right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def resampled(
    methods: Sequence[Float[np.ndarray, "_ test"]],
    labels: Int[np.ndarray, " test"],
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, "{resamples} methods"]:
    """Accuracies, 0..1, of methods in resamples of the test images (jointly, by class) and of each method's runs."""
    random = np.random.default_rng(seed)
    tests = len(labels)
    drawn = np.empty((resamples, len(methods)))
    for start in range(0, resamples, 500):
        size = min(500, resamples - start)
        weights = np.empty((size, tests))
        for members in (np.flatnonzero(labels == label) for label in np.unique(labels)):
            share = np.full(len(members), 1 / len(members))
            weights[:, members] = random.multinomial(len(members), share, size=size) / tests
        for column, correct in enumerate(methods):
            runs = random.integers(len(correct), size=(size, len(correct)))
            drawn[start : start + size, column] = np.take_along_axis(weights @ correct.T, runs, 1).mean(1)
    return drawn
