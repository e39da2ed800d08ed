"""Numbers from predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from attar.evaluation import Difference, paired_difference, summarise
from attar.evaluation.scores import gap_closed, gap_interval, holm, mcnemar, wilson


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
    assert difference.p == 1


def test_the_interval_is_that_of_the_normal_approximation():
    first, second = correctness(0.7, 1, 2000, 1), correctness(0.6, 1, 2000, 2)
    difference = compared(first, second, resamples=4000)
    gaps = 100 * (first - second)[0]
    half = 1.96 * gaps.std() / math.sqrt(2000)
    assert difference.mean == pytest.approx(gaps.mean())
    assert difference.low == pytest.approx(gaps.mean() - half, abs=0.15)
    assert difference.high == pytest.approx(gaps.mean() + half, abs=0.15)
    assert difference.verdict == "above" and compared(second, first, resamples=4000).verdict == "below"


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
    assert Difference(mean, low, high, p=0.5).verdict == verdict


def test_resampling_keeps_the_size_of_each_class():
    """Right on all of one class and wrong on all of the other: with class sizes fixed nothing is left to vary."""
    first, labels = np.array([[1.0] * 20 + [0.0] * 30]), np.array([0] * 20 + [1] * 30)
    difference = paired_difference(first, np.zeros((1, 50)), labels)
    assert (difference.low, difference.high) == (pytest.approx(40), pytest.approx(40))
    assert compared(first, np.zeros((1, 50))).high > 45


def test_the_p_value_is_that_of_the_normal_approximation():
    first, second = correctness(0.64, 1, 1009, 4), correctness(0.6, 1, 1009, 14)
    gaps = (first - second)[0]
    z = gaps.mean() / (gaps.std() / math.sqrt(len(gaps)))
    expected = 2 * stats.norm.sf(abs(z))
    assert 0.02 < expected < 0.1
    assert compared(first, second, resamples=4000).p == pytest.approx(expected, rel=0.3)
    assert compared(second, first, resamples=4000).p == pytest.approx(expected, rel=0.3)


def test_the_p_value_is_never_zero():
    assert compared(np.ones((1, 31)), np.zeros((1, 31)), resamples=99).p == 0.02


@pytest.mark.parametrize(
    ("accuracy", "random", "full", "gap"),
    [(60, 40, 80, 0.5), (40, 40, 80, 0), (80, 40, 80, 1), (30, 40, 80, -0.25), (90, 40, 80, 1.25), (41, 40, 42, 0.5)],
)
def test_the_gap_closed_by_hand(accuracy: float, random: float, full: float, gap: float):
    assert gap_closed(float(accuracy), float(random), float(full)) == gap


@pytest.mark.parametrize("full", [41.99, 40.0, 30.0])
def test_a_gap_below_two_points_is_not_measured(full: float):
    assert gap_closed(41.0, 40.0, full) is None
    tests = 10_000
    rows = [np.arange(tests)[None] < round(share * tests / 100) for share in (41.0, 40.0, full)]
    assert gap_interval(*(row.astype(float) for row in rows), np.zeros(tests, dtype=np.int64)) is None


def test_the_interval_of_the_gap_is_that_of_the_delta_method():
    tests = 1009
    random, method, full = (correctness(share, 1, tests, seed) for seed, share in enumerate((0.3, 0.55, 0.8)))
    gap = gap_closed(*(100 * float(each.mean()) for each in (method, random, full)))
    residuals = (method - random - gap * (full - random))[0]
    half = 1.96 * residuals.std() / math.sqrt(tests) / (full.mean() - random.mean())
    low, high = gap_interval(method, random, full, np.zeros(tests, dtype=np.int64))
    assert low == pytest.approx(gap - half, abs=0.01) and high == pytest.approx(gap + half, abs=0.01)


def test_runs_of_each_term_widen_the_interval_of_the_gap():
    """Each term in turn has a run with 20 points more and one with as many less; single test images hardly count."""
    tests = 100
    sure = {name: np.arange(tests)[None] < share * tests for name, share in (("m", 0.5), ("r", 0.2), ("f", 0.8))}
    labels = np.arange(tests)  # each image a class of its own: none is drawn twice
    alone = gap_interval(*(each.astype(float) for each in sure.values()), labels)
    assert alone == (pytest.approx(0.5), pytest.approx(0.5))
    for name, (low, high) in {"m": (1 / 6, 5 / 6), "r": (1 / 4, 5 / 8), "f": (3 / 8, 3 / 4)}.items():
        share = sure[name].mean()
        runs = np.arange(tests) < np.rint(np.array([[share - 0.2], [share + 0.2]]) * tests)
        varied = sure | {name: runs}
        found = gap_interval(*(each.astype(float) for each in varied.values()), labels, resamples=300)
        assert found == (pytest.approx(low), pytest.approx(high)), name


def test_resamples_without_a_gap_make_the_interval_wide_not_wrong():
    """Two images of 41 lie between random and full: in many resamples neither is drawn, and nothing divides by 0."""
    random, full = (np.arange(41)[None] < count for count in (20, 22))
    low, high = gap_interval(*(each.astype(float) for each in (full, random, full)), np.zeros(41, dtype=np.int64))
    assert (low, high) == (0, 1)
    low, high = gap_interval(full.astype(float) * 0, random.astype(float), full.astype(float), np.zeros(41, dtype=int))
    assert math.isfinite(low) and low <= -20 and high < 0


def test_the_interval_of_the_gap_covers_the_truth():
    """Methods that differ from seed to seed, images that are hard for all: 95 % promised, 120 draws."""
    covered = 0
    for draw in range(120):
        random = np.random.default_rng(draw)
        hard = random.random(211)
        rows = []
        for share, runs in ((0.55, 10), (0.35, 10), (0.75, 1)):
            accuracies = random.normal(share, 0.02 if runs > 1 else 0, (runs, 1))
            rows.append((0.7 * hard + 0.3 * random.random((runs, 211)) < _cut(accuracies)).astype(float))
        low, high = gap_interval(*rows, np.zeros(211, dtype=np.int64), resamples=300)
        covered += low <= 0.5 <= high
    assert 0.90 <= covered / 120 <= 0.99


def _cut(share: np.ndarray) -> np.ndarray:
    """Below which 0.7 u + 0.3 v lies with probability `share`, for uniform u and v and 0.22 < share < 0.78."""
    return 0.7 * share + 0.15


@pytest.mark.parametrize(("right", "n"), [(45, 50), (0, 7), (7, 7), (1, 1), (13, 29), (0, 1), (997, 1009)])
def test_wilson_is_scipys(right: int, n: int):
    oracle = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == (pytest.approx(oracle.low, abs=1e-12), pytest.approx(oracle.high, abs=1e-12))


@given(some.integers(1, 500).flatmap(lambda n: some.tuples(some.floats(0, n), some.just(n))))
def test_wilson_holds_the_share_and_mirrors(case: tuple[float, int]):
    right, n = case
    low, high = wilson(right, n)
    assert 0 <= low <= right / n + 1e-12 and right / n - 1e-12 <= high <= 1
    assert wilson(n - right, n) == (pytest.approx(1 - high, abs=1e-9), pytest.approx(1 - low, abs=1e-9))


def test_mcnemar_counts_the_images_on_which_one_is_right():
    first = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    second = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0], dtype=bool)
    by_hand = 2 * (1 + 7) / 2**7  # 0 or 1 heads in 7 throws, and as much on the other side
    assert mcnemar(first, second) == pytest.approx(by_hand) == mcnemar(second, first)
    agreeing = np.concatenate([first, np.ones(90, dtype=bool)]), np.concatenate([second, np.ones(90, dtype=bool)])
    assert mcnemar(*agreeing) == pytest.approx(by_hand)
    assert mcnemar(first, first) == 1


def test_mcnemar_is_seldom_wrong_about_equal_methods():
    random = np.random.default_rng(0)
    values = [mcnemar(*(random.random((2, 101)) < 0.7)) for _ in range(400)]
    assert 0.01 < np.mean(np.array(values) < 0.05) <= 0.05


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1] and holm([0.2]) == [0.2] and holm([]) == []


@given(some.lists(some.floats(0, 1), min_size=1, max_size=12), some.randoms())
def test_holm_knows_no_order_and_rejects_step_by_step(values: list[float], random):
    corrected = holm(values)
    order = list(range(len(values)))
    random.shuffle(order)
    assert holm([values[i] for i in order]) == [corrected[i] for i in order]
    assert [p <= 0.05 for p in corrected] == _rejected(values, 0.05)


def _rejected(values: list[float], level: float) -> list[bool]:
    """Holm's procedure as it is stated: from the smallest on, stop at the first that exceeds level / remaining."""
    rejected = [False] * len(values)
    for done, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if (len(values) - done) * values[index] > level:
            break
        rejected[index] = True
    return rejected
