"""Companion probes against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from attar.evaluation.companions import nearest_neighbour, ridge_probe, tuned_probe
from attar.linear import converged_probe, ridge

CLASSES, IMAGES, VIEWS, DIM = 3, 11, 5, 7


def problem(spread: float = 1.0):
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=random)
    features = 1 + 2 * centres[labels][:, None] + spread * torch.randn(IMAGES, VIEWS, DIM, generator=random)
    known = torch.arange(211) % CLASSES
    test = 1 + 2 * centres[known] + 2 * torch.randn(211, DIM, generator=random)
    return features, labels, test, known


def test_the_nearest_view_decides():
    features, labels, test, _ = problem()
    rows, targets = normalize(features.flatten(0, 1).double()), labels.repeat_interleave(VIEWS)
    oracle = KNeighborsClassifier(1).fit(rows, targets)
    assert np.array_equal(nearest_neighbour(features, labels, test), oracle.predict(normalize(test.double())))


def test_ridge_regresses_on_one_hot_labels():
    features, labels, test, _ = problem()
    rows = normalize(features.flatten(0, 1).double().numpy())
    targets = np.eye(CLASSES)[labels.repeat_interleave(VIEWS).numpy()]
    penalty = ridge(rows, targets, groups=np.repeat(np.arange(IMAGES), VIEWS)).penalty
    oracle = Ridge(alpha=penalty).fit(rows, targets).predict(normalize(test.double().numpy()))
    assert np.allclose(ridge_probe(features, labels, CLASSES).logits(test.numpy()), oracle, atol=1e-8)


def test_the_tuned_penalty_is_no_worse_on_the_held_out_rows_than_any_other():
    features, labels, test, known = problem(spread=3.0)
    tuned = tuned_probe(features, labels, CLASSES, np.ones(IMAGES), test, known)
    right = np.mean(tuned.predict(test.numpy()) == known.numpy())
    others = [
        converged_probe(features, labels, CLASSES, transform="l2", penalty=10.0**exponent)
        for exponent in (-6, -4, -3, -1, 1)
    ]
    scores = [np.mean(each.predict(test.numpy()) == known.numpy()) for each in others]
    assert right >= max(scores) > min(scores)
