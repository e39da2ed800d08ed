"""DD-Ranking's scores, in fractions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from attar.errors import EvaluationError
from attar.evaluation.ranking import augmentation_robust_score, label_robust_score

fractions = some.floats(0, 1)


def lrs(real_hard: float, synthetic_hard: float, synthetic_any: float, random_any: float) -> float:
    return label_robust_score(
        real_hard=real_hard, synthetic_hard=synthetic_hard, synthetic_any=synthetic_any, random_any=random_any
    )


def ars(synthetic_augmented: float, random_augmented: float, synthetic_plain: float, random_plain: float) -> float:
    return augmentation_robust_score(
        synthetic_augmented=synthetic_augmented,
        random_augmented=random_augmented,
        synthetic_plain=synthetic_plain,
        random_plain=random_plain,
    )


@pytest.mark.parametrize(
    ("accuracies", "percent"),
    [
        ((0.9, 0.5, 0.6, 0.4), 22.85),
        ((0.7, 0.7, 0.3, 0.3), 26.89),
        ((0.0, 1.0, 1.0, 0.0), 100),
        ((1.0, 0.0, 0.0, 1.0), 0),
    ],
)
def test_label_robust_scores_of_the_specification(accuracies: tuple[float, float, float, float], percent: float):
    assert 100 * lrs(*accuracies) == pytest.approx(percent, abs=5e-3)


@pytest.mark.parametrize(
    ("accuracies", "percent"),
    [
        ((0.5, 0.6, 0.3, 0.4), 22.85),
        ((0.7, 0.7, 0.3, 0.3), 26.89),
        ((1.0, 0.0, 1.0, 0.0), 100),
        ((0.0, 1.0, 0.0, 1.0), 0),
        ((0.6, 0.4, 0.5, 0.5), 100 * (math.exp(0.1) - math.exp(-1)) / (math.e - math.exp(-1))),
        ((0.5, 0.5, 0.6, 0.4), 100 * (math.exp(0.1) - math.exp(-1)) / (math.e - math.exp(-1))),
    ],
)
def test_augmentation_robust_scores_by_hand(accuracies: tuple[float, float, float, float], percent: float):
    assert 100 * ars(*accuracies) == pytest.approx(percent, abs=5e-3)


@given(fractions, fractions, fractions, fractions)
def test_scores_stay_between_0_and_1(one: float, two: float, three: float, four: float):
    for score in (lrs(one, two, three, four), ars(one, two, three, four)):
        assert -1e-12 <= score <= 1 + 1e-12


@pytest.mark.parametrize(("place", "up"), [(0, False), (1, True), (2, True), (3, False)])
def test_each_accuracy_counts_in_its_direction(place: int, up: bool):
    low, high = [0.5] * 4, [0.5] * 4
    high[place] = 0.6
    assert (lrs(*high) > lrs(*low)) is up
    swapped = [not up, up][place < 2]  # ARS: synthetic, random, synthetic, random
    assert (ars(*high) > ars(*low)) is not swapped


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [56.5, -0.1, math.nan])
def test_percentages_are_refused_by_name(place: int, value: float):
    accuracies = [0.5] * 4
    accuracies[place] = value
    for score, names in (
        (lrs, ("real_hard", "synthetic_hard", "synthetic_any", "random_any")),
        (ars, ("synthetic_augmented", "random_augmented", "synthetic_plain", "random_plain")),
    ):
        with pytest.raises(EvaluationError, match=f"{names[place]} = {value:g} is not a fraction"):
            score(*accuracies)
