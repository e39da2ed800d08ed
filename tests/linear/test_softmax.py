import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from sklearn.linear_model import LogisticRegression

from attar.linear import softmax, softmax_regression


def problem(rows: int, dim: int, classes: int, seed: int = 0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dim))
    labels = np.arange(rows) % classes
    return centres[labels] + random.normal(size=(rows, dim)), labels, random.uniform(0.2, 3, size=rows)


def test_the_case_worked_by_hand():
    """x = ±1: weights ±w with λ w (1 + e^2w) = 1."""
    solved = softmax_regression(np.array([[1.0], [-1.0]]), np.array([0, 1]), 2, penalty=0.1)
    w = brentq(lambda w: 0.1 * w * (1 + np.exp(2 * w)) - 1, 0, 5)
    assert w == pytest.approx(1.064017, abs=1e-6)
    np.testing.assert_allclose(solved.weights, [[w], [-w]], atol=1e-7)
    np.testing.assert_allclose(solved.bias, 0, atol=1e-7)
    objective = np.log1p(np.exp(-2 * w)) + 0.05 * 2 * w**2
    assert objective == pytest.approx(0.225712, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scikit_learn_finds_the_same_weights(classes: int):
    features, labels, omega = problem(211, 13, classes)
    penalty = 1e-2
    solved = softmax_regression(features, labels, classes, penalty=penalty, row_weights=omega)
    inverse = (1 if classes > 2 else 2) / (penalty * omega.sum())
    oracle = LogisticRegression(C=inverse, tol=1e-10, max_iter=10_000).fit(features, labels, sample_weight=omega)
    expected = oracle.coef_ if classes > 2 else np.stack([-oracle.coef_[0], oracle.coef_[0]]) / 2
    assert solved.converged
    assert np.linalg.norm(solved.weights - expected) / np.linalg.norm(expected) < 1e-4
    assert np.mean(solved.predict(features) == oracle.predict(features)) >= 0.999


def test_every_row_twice_at_half_the_weight_changes_nothing():
    features, labels, omega = problem(53, 5, 3)
    once = softmax_regression(features, labels, 3, penalty=1e-3, row_weights=omega)
    twice = softmax_regression(
        np.repeat(features, 2, 0), np.repeat(labels, 2), 3, penalty=1e-3, row_weights=np.repeat(omega / 2, 2)
    )
    np.testing.assert_allclose(twice.weights, once.weights, rtol=1e-4, atol=1e-6)


def test_renaming_the_classes_renames_the_rows():
    features, labels, _ = problem(53, 5, 3)
    order = np.array([2, 0, 1])
    plain = softmax_regression(features, labels, 3, penalty=1e-3)
    renamed = softmax_regression(features, order[labels], 3, penalty=1e-3)
    np.testing.assert_allclose(renamed.weights[order], plain.weights, rtol=1e-4, atol=1e-6)


def test_a_start_near_the_solution_needs_fewer_iterations():
    features, labels, _ = problem(211, 13, 7)
    near = softmax_regression(features, labels, 7, penalty=1.2e-3)
    cold = softmax_regression(features, labels, 7, penalty=1e-3)
    warm = softmax_regression(features, labels, 7, penalty=1e-3, start=near)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, rtol=1e-3, atol=1e-5)


def test_too_few_iterations_are_reported():
    features, labels, _ = problem(211, 13, 7)
    assert not softmax_regression(features, labels, 7, penalty=1e-6, max_iterations=3).converged


def test_newton_s_steps_finish_where_the_line_search_gives_up(monkeypatch):
    """SciPy stops where a step no longer lowers the objective in float64, be the gradient a hair above the limit."""
    features, labels, omega = problem(53, 5, 3)
    whole = softmax_regression(features, labels, 3, penalty=1e-3, row_weights=omega)

    def impatient(function, first, **options):
        return minimize(function, first, **(options | {"options": options["options"] | {"gtol": 1e-4}}))

    monkeypatch.setattr(softmax, "minimize", impatient)
    solved = softmax_regression(features, labels, 3, penalty=1e-3, row_weights=omega)
    assert solved.converged and solved.iterations < whole.iterations
    np.testing.assert_allclose(solved.weights, whole.weights, atol=1e-5)
    monkeypatch.setattr(softmax, "_NEWTON_STEPS", 0)
    assert not softmax_regression(features, labels, 3, penalty=1e-3, row_weights=omega).converged


def test_features_that_hardly_differ_converge_too():
    """Pictures of noise look alike to a network: standardised, their features are noise in many dimensions."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(200, 1280)), np.repeat(np.arange(10), 20)
    features[:, ::3] = np.where(random.random((200, 427)) < 0.005, 14, 0) + 1e-3 * random.normal(size=(200, 427))
    assert softmax_regression(features, labels, 10, penalty=1.0).converged
