"""Classifiers from class statistics: as if fitted to the rows themselves, and as scikit-learn fits them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from attar.errors import EvaluationError
from attar.features import ClassStatistics
from attar.linear import lda_classifier, ridge, ridge_classifier

CLASSES, ROWS, DIM = 3, 53, 7


def problem(seed: int = 0):
    """Rows of classes of unequal sizes, far from the origin."""
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, size=ROWS, p=[0.6, 0.3, 0.1])
    rows = 3 + random.normal(size=(CLASSES, DIM))[labels] + random.normal(size=(ROWS, DIM)) * np.linspace(0.3, 2, DIM)
    return rows, labels


def statistics(rows, labels, scatter="pooled", classes: int = CLASSES) -> ClassStatistics:
    """Merged from two parts, as shards would be."""
    parts = [
        ClassStatistics.of(torch.from_numpy(rows[part]), torch.from_numpy(labels[part]), classes, scatter=scatter)
        for part in (slice(0, 19), slice(19, None))
    ]
    return parts[0].merge(parts[1])


@pytest.mark.parametrize("scatter", ["pooled", "class"])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_ridge_from_statistics_is_ridge_on_the_one_hot_labels(scatter: str, penalty: float):
    rows, labels = problem()
    made = ridge_classifier(statistics(rows, labels, scatter), penalty)
    oracle = ridge(rows, np.eye(CLASSES)[labels], penalties=np.array([penalty])).map
    np.testing.assert_allclose(made.weights, oracle.weights.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(made.bias, oracle.bias, rtol=1e-9)


@pytest.mark.parametrize("scatter", ["pooled", "class"])
@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_scikit_learn_finds_the_same_discriminants(scatter: str, shrinkage: float):
    rows, labels = problem()
    made = lda_classifier(statistics(rows, labels, scatter), shrinkage)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(rows, labels)
    np.testing.assert_allclose(made.weights, oracle.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(made.bias, oracle.intercept_, rtol=1e-7)
    test = 3 + 2 * np.random.default_rng(1).normal(size=(211, DIM))
    assert (made.predict(test) == oracle.predict(test)).all()


def test_a_class_without_rows_is_never_predicted_by_ridge_and_refused_by_lda():
    rows, labels = problem()
    sparse = statistics(rows, labels, classes=CLASSES + 1)
    made = ridge_classifier(sparse, 1.0)
    assert not made.weights[CLASSES].any() and made.bias[CLASSES] == 0
    with pytest.raises(EvaluationError, match="Class 3 has no rows"):
        lda_classifier(sparse, 0.1)


@pytest.mark.parametrize("classifier", [ridge_classifier, lda_classifier])
def test_statistics_without_scatter_are_refused(classifier):
    with pytest.raises(EvaluationError, match="carry no scatter") as caught:
        classifier(statistics(*problem(), scatter="none"), 0.1)
    assert 'scatter="pooled"' in caught.value.hint


@pytest.mark.parametrize("classifier", [ridge_classifier, lda_classifier])
@pytest.mark.parametrize("spoilt", ["few rows", "a constant dimension", "a copied dimension"])
def test_a_scatter_that_cannot_be_inverted_asks_for_a_penalty(classifier, spoilt: str):
    rows, labels = problem()
    if spoilt == "few rows":
        rows, labels = np.random.default_rng(0).normal(size=(ROWS, ROWS + 5)), labels
    elif spoilt == "a constant dimension":
        rows[:, 2] = 0.5
    else:
        rows[:, 2] = rows[:, 5]
    singular = statistics(rows, labels)
    with pytest.raises(EvaluationError, match="can't be inverted") as caught:
        classifier(singular, 0.0)
    assert "above 0" in caught.value.hint
    assert np.isfinite(classifier(singular, 0.1).weights).all()


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1])
def test_a_shrinkage_outside_its_range_is_refused(shrinkage: float):
    with pytest.raises(EvaluationError, match=r"not within 0\.\.1"):
        lda_classifier(statistics(*problem()), shrinkage)
