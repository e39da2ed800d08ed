"""Numbers from predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from attar.evaluation import Difference, paired_difference, summarise


def test_the_interval_is_students():
    values = [61.0, 63.5, 58.25, 60.0, 62.0]
    summary = summarise(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert summary.accuracy == pytest.approx(60.95) and summary.std == pytest.approx(np.std(values, ddof=1))
    assert summary.ci95 == pytest.approx((low, high))


@pytest.mark.parametrize(("count", "t"), [(3, 4.303), (5, 2.776), (10, 2.262)])
def test_the_factors_of_the_table_of_t(count: int, t: float):
    values = [50.0] * (count - 1) + [50.0 + math.sqrt(count)]  # std 1
    summary = summarise(values)
    assert summary.std == pytest.approx(1)
    assert (summary.ci95[1] - summary.accuracy) * math.sqrt(count) == pytest.approx(t, abs=5e-4)


def test_an_interval_stays_among_the_percentages():
    assert summarise([99.0, 96.0, 100.0]).ci95[1] == 100 and summarise([0.0, 1.0, 0.0]).ci95[0] == 0


def test_one_seed_has_no_interval():
    assert summarise([47.0]).ci95 is None and summarise([47.0]).std == 0 and summarise([47.0]).accuracy == 47


def compared(first: np.ndarray, second: np.ndarray, **options) -> Difference:
    return paired_difference(first, second, np.zeros(first.shape[1], dtype=np.int64), **options)


def correctness(share: float, runs: int, tests: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((runs, tests)) < share).astype(float)


def test_a_method_against_itself_is_zero():
    runs = correctness(0.6, 1, 97, 0)
    difference = compared(runs, runs)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0) and difference.verdict == "not below"


def test_the_interval_is_that_of_the_normal_approximation():
    first, second = correctness(0.7, 1, 2000, 1), correctness(0.6, 1, 2000, 2)
    difference = compared(first, second)
    gaps = 100 * (first - second)[0]
    half = 1.96 * gaps.std() / math.sqrt(2000)
    assert difference.mean == pytest.approx(gaps.mean())
    assert difference.low == pytest.approx(gaps.mean() - half, abs=0.15)
    assert difference.high == pytest.approx(gaps.mean() + half, abs=0.15)
    assert difference.verdict == "above" and compared(second, first).verdict == "below"


def test_pairing_on_test_images_narrows_the_interval():
    """One method is right wherever the other is, and on one image more: no resample puts it below."""
    second = correctness(0.5, 1, 101, 0)
    second[0, :3] = 0
    first = second.copy()
    first[0, :3] = 1
    difference = compared(first, second)
    assert difference.low >= 0 and difference.high < 8
    shuffled = second[:, np.random.default_rng(1).permutation(101)]
    assert compared(first, shuffled).low < -5


def test_runs_that_differ_widen_the_interval():
    """Half of the runs are all right, half all wrong: test images cancel, only seeds are left."""
    first = np.repeat([[1.0], [0.0]], 50, axis=1)
    difference = compared(first, np.zeros((1, 50)))
    assert (difference.mean, difference.low, difference.high) == (50, 0, 100)


def test_the_seed_decides():
    first, second = correctness(0.7, 3, 50, 1), correctness(0.6, 5, 50, 2)
    assert compared(first, second) == compared(first, second)
    assert compared(first, second) != compared(first, second, seed=1)


@pytest.mark.parametrize(
    ("mean", "low", "high", "verdict"),
    [
        (2.0, 0.1, 4.0, "above"),
        (2.0, 0.0, 4.0, "not below"),
        (-0.3, -1.4, 1.0, "not below"),
        (-0.4, -1.4, 1.0, "undecided"),
        (0.5, -1.5, 2.0, "undecided"),
        (-2.0, -4.0, -0.1, "below"),
        (-0.2, -0.3, -0.1, "below"),
    ],
)
def test_verdicts(mean: float, low: float, high: float, verdict: str):
    assert Difference(mean, low, high).verdict == verdict


def test_resampling_keeps_the_size_of_each_class():
    """Right on all of one class and wrong on all of the other: with class sizes fixed nothing is left to vary."""
    first, labels = np.array([[1.0] * 20 + [0.0] * 30]), np.array([0] * 20 + [1] * 30)
    difference = paired_difference(first, np.zeros((1, 50)), labels)
    assert (difference.low, difference.high) == (pytest.approx(40), pytest.approx(40))
    assert compared(first, np.zeros((1, 50))).high > 45
