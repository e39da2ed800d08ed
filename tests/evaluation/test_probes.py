"""Probes against scikit-learn and a plain transcription of the published recipe."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from attar.errors import EvaluationError
from attar.evaluation import PROTOCOLS, protocol
from attar.evaluation.probes import adam_probe, bank_views, nearest_mean
from attar.linear import converged_probe, probe

CLASSES, IMAGES, VIEWS, DIM = 3, 11, 5, 7


def problem(seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=random)
    features = 3 + 2 * centres[labels][:, None] + torch.randn(IMAGES, VIEWS, DIM, generator=random)
    test = 3 + 2 * centres[torch.arange(211) % CLASSES] + 2 * torch.randn(211, DIM, generator=random)
    return features, labels, test.numpy()


def fit(features, labels, transform="l2", penalty=1e-3, **options):
    return converged_probe(features, labels, CLASSES, transform=transform, penalty=penalty, **options)


def test_an_unknown_protocol_names_the_nearest():
    assert protocol("probe-v1").id == "probe-v1"
    with pytest.raises(EvaluationError, match="no protocol 'prob-v1'") as caught:
        protocol("prob-v1")
    assert "probe-v1" in caught.value.hint


def test_protocols_are_as_published():
    assert {name: one.id for name, one in PROTOCOLS.items()} == {name: name for name in PROTOCOLS}
    assert {name: (one.views, one.transform, one.penalty) for name, one in PROTOCOLS.items()} == {
        "probe-v1": (20, "l2", 1e-3),
        "probe-v1/std": (20, "std", 1.0),
        "lgm-probe": (0, "none", 0.0),
        "lgm-probe/bank64": (64, "none", 0.0),
    }
    assert {PROTOCOLS[name].restarts for name in ("lgm-probe", "lgm-probe/bank64")} == {5}


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


def published_recipe(view, labels, seed: int, epochs: int):
    """evaluation.md 2 with torch's own layer; one batch, as there are no more than 100 images."""
    random = torch.Generator().manual_seed(seed)
    layer = torch.nn.Linear(DIM, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(torch.normal(0.0, 1.0, (CLASSES, DIM), generator=random) * 0.01)
        layer.bias.zero_()
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.001 * len(labels) / 256, betas=(0.9, 0.999), weight_decay=0)
    for epoch in range(epochs):
        rate = 0.001 * len(labels) / 256 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        for group in optimiser.param_groups:
            group["lr"] = rate
        images = torch.arange(len(labels))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(layer(view(epoch, images)), labels[images]).backward()
        optimiser.step()
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def test_the_adam_probe_is_the_published_recipe():
    features, labels, _ = problem()

    def view(epoch, images):
        return features[images, epoch % VIEWS]

    ours = adam_probe(view, labels, CLASSES, DIM, seed=3407, epochs=70)
    weights, bias = published_recipe(view, labels, 3407, 70)
    np.testing.assert_allclose(ours.weights, weights, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(ours.bias, bias, rtol=1e-3, atol=1e-6)
    assert np.abs(ours.weights - adam_probe(view, labels, CLASSES, DIM, seed=3408, epochs=70).weights).max() > 1e-3


def test_the_adam_probe_sees_each_image_once_an_epoch_in_batches_of_a_hundred():
    seen = []
    features = torch.randn(103, DIM, generator=torch.Generator().manual_seed(0))

    def view(epoch, images):
        seen.append((epoch, images.tolist()))
        return features[images]

    adam_probe(view, torch.arange(103) % CLASSES, CLASSES, DIM, seed=0, epochs=3)
    assert [(epoch, len(images)) for epoch, images in seen] == [(e, n) for e in range(3) for n in (100, 3)]
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert sorted(first[1] + second[1]) == list(range(103))
    assert seen[0][1] != seen[2][1]


def test_a_bank_gives_each_image_its_own_views_all_of_them():
    bank = torch.arange(4)[:, None, None] * 100.0 + torch.arange(5)[None, :, None]
    view = bank_views(bank, seed=0)
    images = torch.tensor([2, 0])
    drawn = torch.stack([view(epoch, images)[:, 0] for epoch in range(200)])
    assert set(drawn[:, 0].tolist()) == {200.0, 201.0, 202.0, 203.0, 204.0}
    assert set(drawn[:, 1].tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_the_nearest_mean_has_the_largest_cosine():
    means = np.array([[10.0, 0.0], [0.0, 0.1]])
    assert nearest_mean(means, np.array([[1.0, 2.0], [2.0, 1.0], [-1.0, 0.5]])).tolist() == [1, 0, 1]
