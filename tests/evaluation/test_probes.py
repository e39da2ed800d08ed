"""The probes of other papers against a plain transcription of the published recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attar.errors import EvaluationError
from attar.evaluation import PROTOCOLS, protocol
from attar.evaluation.probes import adam_probe, bank_views, nearest_mean

CLASSES, IMAGES, VIEWS, DIM = 3, 11, 5, 7


def problem():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=random)
    return 3 + 2 * centres[labels][:, None] + torch.randn(IMAGES, VIEWS, DIM, generator=random), labels


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
        "probe-v1/centre": (1, "l2", 1e-3),
        "probe-v1/tuned": (20, "l2", 0.0),
        "ridge-v1": (20, "l2", 0.0),
        "knn-v1": (20, "l2", 0.0),
        "lgm-probe": (0, "none", 0.0),
        "lgm-probe/bank64": (64, "none", 0.0),
        "inherit-ridge-v1": (20, "l2", 0.0),
        "inherit-authors/bank20": (20, "none", 0.0),
        "kd/bank20": (20, "none", 0.0),
        "joint/bank20": (20, "none", 0.0),
    }
    assert {PROTOCOLS[name].restarts for name in ("lgm-probe", "lgm-probe/bank64")} == {5}


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
    features, labels = problem()

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
