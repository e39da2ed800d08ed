"""Inherited classifiers against scikit-learn and plain transcriptions of the published recipes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize
from torch.nn.functional import cross_entropy

from attar.evaluation.inheritance import authors_projector, joint, kd, paired_bank_views, ridge_projector
from attar.linear import ConvergedProbe, LinearClassifier, Scaling

CLASSES, IMAGES, VIEWS, DIM_E, DIM_D = 3, 11, 5, 7, 13


def problem():
    """Two backbones that see the same two things in an image and each something else, and a head on the second."""
    random = torch.Generator().manual_seed(0)
    seen = torch.randn(IMAGES, VIEWS, 4, generator=random)
    x = 1 + seen @ torch.randn(4, DIM_E, generator=random) + 0.3 * torch.randn(IMAGES, VIEWS, DIM_E, generator=random)
    y = 2 - seen @ torch.randn(4, DIM_D, generator=random) + 0.3 * torch.randn(IMAGES, VIEWS, DIM_D, generator=random)
    draw = np.random.default_rng(1)
    classifier = LinearClassifier(draw.normal(size=(CLASSES, DIM_D)), draw.normal(size=CLASSES))
    return x, y, classifier


def refitted(x, y, head: ConvergedProbe, penalty: float) -> float:
    """What a ridge projector of features, followed by the head, gets wrong in the logits of images left out."""
    total = 0.0
    for image in range(IMAGES):
        kept = np.arange(IMAGES) != image
        rows, targets = normalize(x[kept].flatten(0, 1).numpy()), normalize(y[kept].flatten(0, 1).numpy())
        projector = Ridge(alpha=penalty, solver="svd").fit(rows, targets)
        projected = projector.predict(normalize(x[image].numpy()))
        total += ((head.classifier.logits(projected) - head.logits(y[image].numpy())) ** 2).sum()
    return total / (IMAGES * VIEWS)


def test_scikit_learn_projects_the_features_and_leaves_images_out_the_same():
    x, y, classifier = problem()
    head = ConvergedProbe(Scaling("l2"), classifier)
    made = ridge_projector(x.double(), y.double(), head)
    expected = [refitted(x.double(), y.double(), head, penalty) for penalty in made.ridge.penalties]
    np.testing.assert_allclose(made.ridge.press, expected, rtol=1e-5)
    chosen = made.ridge.penalties[np.argmin(expected)]
    oracle = Ridge(alpha=chosen, solver="svd").fit(
        normalize(x.double().flatten(0, 1).numpy()), normalize(y.double().flatten(0, 1).numpy())
    )
    test = np.random.default_rng(2).normal(size=(211, DIM_E))
    np.testing.assert_allclose(made.probe.logits(test), classifier.logits(oracle.predict(normalize(test))), rtol=1e-6)


@pytest.mark.parametrize("kind", ["l2", "std"])
def test_on_the_head_s_own_backbone_the_head_comes_back(kind: str):
    _, y, classifier = problem()
    rows = y.flatten(0, 1).double().numpy()
    head = ConvergedProbe(Scaling.fit(kind, rows), classifier)
    made = ridge_projector(y, y, head).probe
    np.testing.assert_allclose(made.logits(rows), head.logits(rows), atol=1e-3)
    assert (made.predict(rows) == head.predict(rows)).all()


@given(order=st.permutations(range(IMAGES)), turn=st.permutations(range(VIEWS)), scale=st.floats(0.1, 10))
@settings(max_examples=15)
def test_neither_order_nor_brightness_of_features_matter(order: list[int], turn: list[int], scale: float):
    x, y, classifier = problem()
    head = ConvergedProbe(Scaling("l2"), classifier)
    plain, moved = (
        ridge_projector(*pair, head).ridge for pair in ((x, y), (scale * x[order][:, turn], y[order][:, turn]))
    )
    np.testing.assert_allclose(moved.press, plain.press, rtol=1e-4)
    np.testing.assert_allclose(moved.map.weights, plain.map.weights, rtol=1e-3, atol=1e-5)


def in_turn(x, y):
    """The views of every image one after the other, an epoch each."""
    return lambda epoch, images: (x[images, epoch % VIEWS], y[images, epoch % VIEWS])


def published_recipe(loss, parameters, views, *, rate: float, epochs: int):
    """Adam as sfm.md 12 has it; one batch, as there are no more than 100 images."""
    parameters, images = list(parameters), torch.arange(IMAGES)
    optimiser = torch.optim.Adam(parameters, lr=1.0, betas=(0.9, 0.999), weight_decay=0)
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = rate * IMAGES / 256 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        optimiser.zero_grad()
        loss(*views(epoch, images)).backward()
        optimiser.step()


def new_linear(seed: int) -> torch.nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Linear(DIM_E, DIM_D)


def as_linear(classifier: LinearClassifier) -> torch.nn.Linear:
    layer = torch.nn.Linear(DIM_D, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(classifier.weights))
        layer.bias.copy_(torch.from_numpy(classifier.bias))
    return layer


def assert_close(made: LinearClassifier, weights: torch.Tensor, bias: torch.Tensor) -> None:
    np.testing.assert_allclose(made.weights, weights.detach(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(made.bias, bias.detach(), rtol=1e-3, atol=1e-5)


def test_the_authors_projector_is_the_published_recipe():
    x, y, classifier = problem()
    views, layer = in_turn(x, y), new_linear(3407)
    published_recipe(lambda a, b: (layer(a) - b).square().mean(), layer.parameters(), views, rate=0.01, epochs=70)
    made = authors_projector(views, IMAGES, DIM_E, DIM_D, seed=3407, epochs=70)
    np.testing.assert_allclose(made.weights.T, layer.weight.detach(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(made.bias, layer.bias.detach(), rtol=1e-3, atol=1e-5)
    folded = made.then(classifier).logits(x[:, 0].numpy())
    np.testing.assert_allclose(folded, as_linear(classifier)(layer(x[:, 0])).detach(), rtol=1e-3, atol=1e-3)
    other = authors_projector(views, IMAGES, DIM_E, DIM_D, seed=3408, epochs=70)
    assert np.abs(other.weights - made.weights).max() > 1e-2


def test_kd_is_the_published_recipe():
    x, y, classifier = problem()
    labels, views, teacher = torch.arange(IMAGES) % CLASSES, in_turn(x, y), as_linear(classifier)
    student = torch.nn.Linear(DIM_E, CLASSES)
    with torch.no_grad():
        student.weight.copy_(0.01 * torch.randn(CLASSES, DIM_E, generator=torch.Generator().manual_seed(5)))
        student.bias.zero_()

    def loss(a, b):
        taught, learned = (teacher(b) / 4).softmax(1).detach(), (student(a) / 4).softmax(1)
        divergence = (taught * (taught / learned).log()).sum() / IMAGES
        return 0.5 * 16 * divergence + 0.5 * cross_entropy(student(a), labels)

    published_recipe(loss, student.parameters(), views, rate=0.001, epochs=70)
    made = kd(views, labels, classifier, DIM_E, seed=5, epochs=70)
    assert_close(made, student.weight, student.bias)


def test_joint_is_the_published_recipe():
    x, y, classifier = problem()
    labels, views = torch.arange(IMAGES) % CLASSES, in_turn(x, y)
    both = torch.nn.Sequential(new_linear(5), as_linear(classifier))
    published_recipe(lambda a, _: cross_entropy(both(a), labels), both.parameters(), views, rate=0.001, epochs=70)
    before = classifier.weights.copy()
    made = joint(views, labels, classifier, DIM_E, seed=5, epochs=70)
    assert_close(made, both[1].weight @ both[0].weight, both[1].weight @ both[0].bias + both[1].bias)
    assert (classifier.weights == before).all()


def test_batches_hold_a_hundred_images_each_once_an_epoch():
    seen = []
    x, y = torch.randn(103, DIM_E), torch.randn(103, DIM_D)

    def views(epoch, images):
        seen.append((epoch, images.tolist()))
        return x[images], y[images]

    authors_projector(views, 103, DIM_E, DIM_D, seed=0, epochs=2)
    assert [(epoch, len(images)) for epoch, images in seen] == [(0, 100), (0, 3), (1, 100), (1, 3)]
    assert sorted(seen[0][1] + seen[1][1]) == list(range(103))


def test_a_paired_bank_gives_the_same_view_on_both_sides():
    numbers = torch.arange(4)[:, None, None] * 100.0 + torch.arange(5)[None, :, None]
    views = paired_bank_views(numbers.repeat(1, 1, 2), -numbers, seed=0)
    seen = set()
    for epoch in range(200):
        x, y = views(epoch, torch.tensor([2, 0]))
        assert (x.shape, y.shape) == ((2, 2), (2, 1)) and (x == -y).all()
        seen |= set(x[:, 0].tolist())
    assert seen == {200.0, 201.0, 202.0, 203.0, 204.0, 0.0, 1.0, 2.0, 3.0, 4.0}
