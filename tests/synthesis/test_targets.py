import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from attar.features import Features, RealFeatures
from attar.linear import LinearClassifier, converged_probe
from attar.linear.probe import PENALTY, TRANSFORM
from attar.synthesis.objectives.targets import inverse_of, learned_vectors, probe_inverse, whitening
from oracles.choices import ridgeless_probe


def skewed(images: int, classes: int = 3, seed: int = 0) -> RealFeatures:
    """Each class has an axis of small scatter, on which it stands out clearly, and one of large scatter."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    scale = torch.tensor([0.2, 3.0]).repeat_interleave(classes)
    values = torch.randn(images, 2, 2 * classes, generator=random) * scale
    offsets = torch.nn.functional.one_hot(labels, classes).repeat(1, 2) * torch.tensor([0.6, 1.8]).repeat_interleave(3)
    return RealFeatures(Features(values + offsets[:, None] + 1, labels), classes)


def accuracy(vectors: torch.Tensor, test: RealFeatures) -> float:
    """Of probe-v1 trained on the vectors [classes, count, dim]."""
    classes, count, _ = vectors.shape
    labels = torch.arange(classes).repeat_interleave(count)
    rows = vectors.flatten(0, 1)[:, None].float()
    probe = converged_probe(rows, labels, classes, transform=TRANSFORM, penalty=PENALTY)
    values, expected = test.rows()
    return float(np.mean(probe.predict(values.numpy()) == expected.numpy()))


@pytest.mark.parametrize("count", [1, 3])
def test_a_probe_learns_more_from_learned_vectors_than_from_means(count: int):
    real, test = skewed(61), skewed(499, seed=1)
    start = real.sub_centres(count)[0]
    learned = learned_vectors(real, start)
    assert learned.shape == (3, count, 6) and learned.dtype == torch.float64
    assert accuracy(learned, test) > accuracy(start, test) + 0.1


def test_learned_vectors_have_the_means_place_and_extent():
    real = skewed(61)
    start = real.sub_centres(2)[0]
    learned = learned_vectors(real, start)
    torch.testing.assert_close(learned.mean((0, 1)), start.mean((0, 1)))
    gaps, expected = ((each.mean(1) - each.mean((0, 1))).norm() for each in (learned, start))
    torch.testing.assert_close(gaps, expected)
    assert torch.equal(learned, learned_vectors(real, start))


@pytest.mark.parametrize("dim", [3, 11])
def test_a_probe_on_the_inverse_is_the_classifier(dim: int):
    """Least squares with an intercept gives weights, bias and decisions back, but for what all classes share."""
    random = np.random.default_rng(dim)
    classifier = LinearClassifier(random.normal(size=(4, dim)), random.normal(size=4))
    mean, steps = inverse_of(classifier, random.normal(size=dim))
    weights, bias = ridgeless_probe(mean + steps)
    np.testing.assert_allclose(weights.T, classifier.weights - classifier.weights.mean(0), atol=1e-12)
    np.testing.assert_allclose(bias - bias.mean(), classifier.bias - classifier.bias.mean(), atol=1e-12)

    rows = random.normal(size=(97, dim))
    weights, bias = ridgeless_probe(mean + 0.3 * steps)
    assert np.array_equal((rows @ weights + bias).argmax(1), classifier.predict(rows))


def test_the_inverse_keeps_the_given_mean_where_no_bias_asks_for_another():
    random = np.random.default_rng(5)
    weights, centre = random.normal(size=(3, 7)), random.normal(size=7)
    mean, steps = inverse_of(LinearClassifier(weights, -weights @ centre), centre)
    np.testing.assert_allclose(mean, centre, atol=1e-12)
    np.testing.assert_allclose(steps.sum(0), 0, atol=1e-12)


def test_the_target_is_the_inverse_of_the_probe_of_all_real_rows():
    """Against scikit-learn's probe on rows of length 1."""
    real = skewed(61)
    values, labels = real.rows()
    rows = torch.nn.functional.normalize(values.double()).numpy()
    oracle = LogisticRegression(C=1 / (PENALTY * len(rows)), tol=1e-10, max_iter=10_000).fit(rows, labels.numpy())

    means, target = real.statistics.means, probe_inverse(real)
    length = means.norm(dim=1).mean().item()
    weights, bias = ridgeless_probe(target.numpy() / length)
    decisions = (rows @ weights + bias).argmax(1)
    assert np.mean(decisions == oracle.predict(rows)) == 1
    torch.testing.assert_close((target - target.mean(0)).norm(), (means - means.mean(0)).norm())


@pytest.mark.parametrize("shrinkage", [0.3, 1.0])
def test_whitened_features_scatter_the_same_in_all_directions(shrinkage: float):
    real = skewed(61)
    root = whitening(real.within, shrinkage)
    within = real.within.numpy()
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / 6 * np.eye(6)
    np.testing.assert_allclose(root.numpy() @ shrunk @ root.numpy(), np.eye(6), atol=1e-12)
    torch.testing.assert_close(root, root.T)
