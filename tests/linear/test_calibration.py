"""A temperature against a fine grid, and what it must not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from attar.linear import temperature


def problem(seed: int = 0):
    """Labels drawn from the very probabilities of the logits: they are calibrated as they are."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (4001, 5))
    return logits, np.array([random.choice(5, p=row) for row in softmax(logits, axis=1)])


def entropy(logits, labels, by: float) -> float:
    return float(-np.mean(np.log(softmax(logits / by, axis=1)[np.arange(len(labels)), labels])))


def test_calibrated_logits_keep_their_temperature():
    assert temperature(*problem()) == pytest.approx(1, abs=0.05)


def test_no_temperature_of_a_fine_grid_is_better():
    logits, labels = problem(1)
    found = temperature(3.7 * logits, labels)
    grid = np.geomspace(0.1, 100, 2001)
    best = min(entropy(3.7 * logits, labels, by) for by in grid)
    assert entropy(3.7 * logits, labels, found) <= best + 1e-9


@given(st.floats(0.05, 20))
def test_scaled_logits_scale_the_temperature(factor: float):
    logits, labels = problem(2)
    assert temperature(factor * logits[:211], labels[:211]) == pytest.approx(
        factor * temperature(logits[:211], labels[:211]), rel=1e-3
    )


@pytest.mark.parametrize("rows", [3, 20, 200])
def test_rows_that_are_all_right_make_no_answer_certain(rows: int):
    """With n rows the mean probability of the right class is (n + 1/C) / (n + 1): one error in n + 1 is possible."""
    logits = np.tile(np.eye(5), (rows, 1))[:rows]
    labels = np.arange(rows) % 5
    found = softmax(logits / temperature(logits, labels), axis=1)[np.arange(rows), labels]
    assert found.mean() == pytest.approx((rows + 1 / 5) / (rows + 1), abs=1e-3)
