"""The converged probe against scikit-learn, and what must not change it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from attar.errors import EvaluationError
from attar.linear import Scaling, converged_probe, probe

CLASSES, IMAGES, VIEWS, DIM = 3, 11, 5, 7


def problem():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=random)
    features = 3 + 2 * centres[labels][:, None] + torch.randn(IMAGES, VIEWS, DIM, generator=random)
    test = 3 + 2 * centres[torch.arange(211) % CLASSES] + 2 * torch.randn(211, DIM, generator=random)
    return features, labels, test.numpy()


def fit(features, labels, transform="l2", penalty=1e-3, **options):
    return converged_probe(features, labels, CLASSES, transform=transform, penalty=penalty, **options)


@pytest.mark.parametrize("transform", ["l2", "std"])
def test_scikit_learn_fits_the_same_probe(transform: str):
    features, labels, test = problem()
    weights = np.random.default_rng(0).uniform(0.5, 2, IMAGES)
    probe = fit(features, labels, transform, weights=weights)
    rows = features.reshape(-1, DIM).double().numpy()
    if transform == "l2":
        train, held_out = normalize(rows), normalize(test.astype(float))
    else:
        scale = rows.std(0) + 1e-6
        train, held_out = (rows - rows.mean(0)) / scale, (test - rows.mean(0)) / scale
    omega = np.repeat(weights / VIEWS, VIEWS)
    oracle = LogisticRegression(C=1 / (1e-3 * omega.sum()), tol=1e-10, max_iter=10_000)
    oracle.fit(train, np.repeat(labels.numpy(), VIEWS), sample_weight=omega)
    gap = np.linalg.norm(probe.classifier.weights - oracle.coef_) / np.linalg.norm(oracle.coef_)
    assert gap < 1e-4
    assert np.mean(probe.predict(test) == oracle.predict(held_out)) > 0.999


def test_every_view_twice_changes_nothing():
    features, labels, test = problem()
    once, twice = fit(features, labels), fit(features.repeat(1, 2, 1), labels)
    np.testing.assert_allclose(twice.classifier.weights, once.classifier.weights, rtol=1e-4, atol=1e-5)
    assert (once.predict(test) == twice.predict(test)).all()


def test_an_image_of_weight_two_counts_as_two_images():
    features, labels, _ = problem()
    weights = np.ones(IMAGES)
    weights[4] = 2
    heavy = fit(features, labels, weights=weights)
    doubled = fit(torch.cat([features, features[4:5]]), torch.cat([labels, labels[4:5]]))
    np.testing.assert_allclose(heavy.classifier.weights, doubled.classifier.weights, rtol=1e-4, atol=1e-5)


def test_another_order_of_the_classes_predicts_the_same():
    features, labels, test = problem()
    order = torch.tensor([2, 0, 1])
    renamed = fit(features, order[labels]).predict(test)
    assert (renamed == order.numpy()[fit(features, labels).predict(test)]).all()


@pytest.mark.parametrize("transform", ["l2", "std"])
def test_equal_features_give_chance(transform: str):
    labels = torch.arange(6) % CLASSES
    probe = fit(torch.full((6, VIEWS, DIM), 3.0), labels, transform)
    predicted = probe.predict(np.random.default_rng(0).normal(size=(300, DIM)))
    assert len(set(predicted.tolist())) == 1  # one class for everything: a third right


def test_a_probe_that_does_not_converge_is_an_error(monkeypatch):
    features, labels, _ = problem()
    monkeypatch.setattr(probe, "softmax_regression", partial(probe.softmax_regression, max_iterations=2))
    with pytest.raises(EvaluationError, match="did not converge in 2 iterations"):
        fit(features, labels)


def test_unscaled_rows_stay_as_they_are():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert Scaling.fit("none", rows)(rows).tolist() == rows.tolist()
    assert Scaling.fit("l2", rows)(rows).tolist() == [[0.6, 0.8], [0.0, 0.0]]
