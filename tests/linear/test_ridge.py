"""Ridge regression against scikit-learn, and its left-out errors against fitting again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV

from attar.errors import EvaluationError
from attar.linear import AffineMap, LinearClassifier, ridge

INPUTS, OUTPUTS = 5, 3
WIDE = 41  # more inputs than rows


def problem(rows: int = 29, inputs: int = INPUTS, seed: int = 0):
    random = np.random.default_rng(seed)
    x = 3 + random.normal(size=(rows, inputs)) * np.linspace(0.2, 2, inputs)
    y = x @ random.normal(size=(inputs, OUTPUTS)) - 1 + 5 * random.normal(size=(rows, OUTPUTS))
    return x, y


def refitted(x, y, penalty: float, groups, judge=None) -> float:
    """PRESS as its name says: leave out, fit again, predict."""
    total = 0.0
    for group in set(groups.tolist()):
        out = groups == group
        residuals = y[out] - Ridge(alpha=penalty, solver="svd").fit(x[~out], y[~out]).predict(x[out])
        total += float(((residuals if judge is None else residuals @ judge) ** 2).sum())
    return total / len(x)


def test_the_case_worked_by_hand():
    x, y = np.arange(4.0)[:, None], np.array([[0.0], [1], [2], [4]])
    fit = ridge(x, y, penalties=np.array([1.0]))
    assert fit.map.weights.item() == pytest.approx(13 / 12, abs=1e-14)
    assert fit.map.bias.item() == pytest.approx(0.125, abs=1e-14)
    assert fit.press.item() == pytest.approx(0.786236, abs=5e-7)


@pytest.mark.parametrize("inputs", [INPUTS, WIDE])
def test_scikit_learn_finds_the_same_map(inputs: int):
    x, y = problem(inputs=inputs)
    for penalty in (1e-3, 1.0, 300.0):
        fit = ridge(x, y, penalties=np.array([penalty]))
        oracle = Ridge(alpha=penalty, solver="svd").fit(x, y)
        np.testing.assert_allclose(fit.map.weights.T, oracle.coef_, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(fit.map(x), oracle.predict(x), rtol=1e-9)


@pytest.mark.parametrize("inputs", [INPUTS, WIDE])
def test_scikit_learn_chooses_the_same_penalty_leaving_out_rows(inputs: int):
    x, y = problem(inputs=inputs)
    fit = ridge(x, y)
    oracle = RidgeCV(alphas=fit.penalties, store_cv_results=True).fit(x, y)
    np.testing.assert_allclose(fit.press, oracle.cv_results_.sum(1).mean(0), rtol=1e-5)
    assert fit.penalty == oracle.alpha_ and fit.penalties[0] < fit.penalty < fit.penalties[-1]


@pytest.mark.parametrize("inputs", [INPUTS, WIDE])
@pytest.mark.parametrize("judged", [False, True])
def test_left_out_groups_are_as_if_fitted_again(inputs: int, judged: bool):
    x, y = problem(inputs=inputs)
    groups = np.random.default_rng(1).permutation(np.repeat([4, -7, 0, 11, 2], [3, 5, 1, 13, 7]))
    judge = np.random.default_rng(2).normal(size=(OUTPUTS, 2)) if judged else None
    fit = ridge(x, y, groups=groups, judge=judge)
    expected = [refitted(x, y, penalty, groups, judge) for penalty in fit.penalties]
    np.testing.assert_allclose(fit.press, expected, rtol=1e-5)
    assert fit.penalty == fit.penalties[np.argmin(expected)]


def test_a_judge_can_change_the_choice():
    random = np.random.default_rng(0)
    x = random.normal(size=(31, INPUTS))
    y = np.stack([x[:, 0], 10 * random.normal(size=31)], axis=1)  # one output is learnable, the louder one is noise
    assert ridge(x, y, judge=np.array([[1.0], [0.0]])).penalty < ridge(x, y).penalty


def test_rows_fewer_than_inputs_give_the_same_numbers():
    """Inputs that are 0 everywhere change nothing but the decomposition."""
    x, y = problem()
    narrow, wide = ridge(x, y), ridge(np.hstack([x, np.zeros((29, 31))]), y, penalties=ridge(x, y).penalties)
    np.testing.assert_allclose(wide.press, narrow.press, rtol=1e-9)
    np.testing.assert_allclose(wide.map.weights[:INPUTS], narrow.map.weights, rtol=1e-9)
    assert not wide.map.weights[INPUTS:].any()


def test_the_default_penalties_span_nine_decades_about_the_mean_square():
    x, y = problem()
    penalties = ridge(x, y).penalties
    mean = (np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2).mean()
    assert len(penalties) == 41
    np.testing.assert_allclose(penalties[[0, 20, 40]] / mean, [1e-6, 10**-1.5, 1e3], rtol=1e-10)


def test_a_vanishing_penalty_is_not_mistaken_for_a_perfect_prediction():
    """With as many directions as rows nothing is left of the residuals; left out they are as large as ever."""
    x, y = problem(rows=7, inputs=WIDE)
    expected = refitted(x, y, 1e-15, np.arange(7))
    assert ridge(x, y, penalties=np.array([1e-15])).press.item() == pytest.approx(expected, rel=1e-4)


@given(shift=st.floats(-100, 100), turn=st.integers(0, 99), scale=st.floats(0.01, 100), inputs=st.sampled_from([5, 41]))
@settings(max_examples=25, deadline=None)
def test_moving_turning_and_scaling_the_inputs_predicts_the_same(shift: float, turn: int, scale: float, inputs: int):
    x, y = problem(inputs=inputs)
    rotation = np.linalg.qr(np.random.default_rng(turn).normal(size=(inputs, inputs)))[0]
    plain, moved = ridge(x, y), ridge(scale * (x @ rotation + shift), y)
    np.testing.assert_allclose(moved.map(scale * (x @ rotation + shift)), plain.map(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved.press, plain.press, rtol=1e-5)


@given(order=st.permutations(range(29)))
@settings(max_examples=15, deadline=None)
def test_neither_the_order_of_rows_nor_the_names_of_groups_matter(order: list[int]):
    x, y = problem()
    groups = np.arange(29) % 7
    plain, shuffled = ridge(x, y, groups=groups), ridge(x[order], y[order], groups=100 - groups[order])
    np.testing.assert_allclose(shuffled.press, plain.press, rtol=1e-8)
    np.testing.assert_allclose(shuffled.map.weights, plain.map.weights, rtol=1e-8, atol=1e-10)


def test_teacher_logits_as_targets_are_the_folded_map_of_the_features():
    x, y = problem()
    random = np.random.default_rng(3)
    classifier = LinearClassifier(random.normal(size=(7, OUTPUTS)), random.normal(size=7), iterations=11)
    groups = np.arange(29) % 5
    features = ridge(x, y, groups=groups, judge=classifier.weights.T)
    logits = ridge(x, classifier.logits(y), groups=groups)
    folded = features.map.then(classifier)
    np.testing.assert_allclose(logits.press, features.press, rtol=1e-8)
    np.testing.assert_allclose(folded.weights, logits.map.weights.T, atol=1e-10)
    np.testing.assert_allclose(folded.bias, logits.map.bias, atol=1e-10)
    np.testing.assert_allclose(folded.logits(x), classifier.logits(features.map(x)), atol=1e-10)
    assert (folded.converged, folded.iterations) == (True, 11)


def test_a_map_multiplies_then_shifts():
    assert AffineMap(np.array([[2.0, 0], [0, 3]]), np.array([1.0, -1]))(np.array([[5.0, 7]])).tolist() == [[11, 20]]


@pytest.mark.parametrize("rows", [np.full((5, 2), 0.1), np.full((5, 11), 0.1), np.zeros((5, 2))])
def test_equal_rows_are_refused(rows):
    with pytest.raises(EvaluationError, match="all rows are equal"):
        ridge(rows, np.arange(5.0)[:, None])


def test_rows_far_from_zero_are_not_taken_for_equal():
    x, y = problem()
    np.testing.assert_allclose(ridge(x + 1e8, y).map.weights, ridge(x, y).map.weights, rtol=1e-5, atol=1e-6)


def test_penalties_above_zero_are_asked_for():
    with pytest.raises(EvaluationError, match="above 0, not -1"):
        ridge(*problem(), penalties=np.array([1.0, -1.0]))


def test_a_single_group_is_refused():
    with pytest.raises(EvaluationError, match="the only group"):
        ridge(*problem(), groups=np.zeros(29, dtype=np.int64))
