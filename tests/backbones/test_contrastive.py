"""The encoder trained at hand: its loss is SimCLR's, it learns, and it is the same for the same seed."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attar.backbones.contrastive import nt_xent, train_encoder
from attar.errors import BackboneError


def test_the_loss_is_the_papers_formula():
    z = torch.randn(10, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = [row / row.norm() for row in z]
    total = 0.0
    for i in range(10):
        likeness = [math.exp(float(unit[i] @ unit[k]) / 0.2) for k in range(10)]
        total -= math.log(likeness[(i + 5) % 10] / (sum(likeness) - likeness[i]))
    assert float(nt_xent(z)) == pytest.approx(total / 10)


def test_the_same_seed_gives_the_same_encoder_and_leaves_the_global_state_alone():
    images = torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    first = train_encoder(images, dim=13, epochs=2, seed=5)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(3)
    assert train_encoder(images, dim=13, epochs=2, seed=5).fingerprint == first.fingerprint
    assert train_encoder(images, dim=13, epochs=2, seed=6).fingerprint != first.fingerprint
    assert (first.name, first.dim, first.image_size, first.mean) == ("contrastive", 13, 16, (0.5, 0.5, 0.5))
    assert not any(parameter.requires_grad for parameter in first.module.parameters())


def test_grey_images_are_those_of_three_equal_channels():
    grey = torch.rand(7, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    three = train_encoder(grey.repeat(1, 3, 1, 1), dim=5, epochs=1)
    assert train_encoder(grey, dim=5, epochs=1).fingerprint == three.fingerprint


def test_one_image_more_than_a_batch_is_no_obstacle():
    heard = []
    train_encoder(torch.rand(257, 1, 8, 8), dim=5, epochs=2, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 2), (2, 2)]


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (5, 3, 16, 12)])
def test_images_it_cannot_learn_from_are_refused(shape):
    with pytest.raises(BackboneError, match="Can't train an encoder"):
        train_encoder(torch.rand(shape))


def test_digits_are_told_apart_better_than_by_an_untrained_encoder():
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    images = torch.nn.functional.interpolate(images, (32, 32), mode="bilinear")
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    train, test = order[:1297], order[1297:]

    def accuracy(epochs: int) -> float:
        encoder = train_encoder(images[train], epochs=epochs)
        with torch.no_grad():
            features = encoder(images).numpy()
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        return probe.fit(features[train], digits.target[train]).score(features[test], digits.target[test])

    trained = accuracy(epochs=10)
    assert trained > 0.95
    assert trained > accuracy(epochs=0) + 0.01
