import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.synthesis.objectives import OBJECTIVES, BatchMeanMatching, MeanMatching, Options, Rows
from attar.synthesis.objectives.dm import BatchOptions
from attar.testing import check_objective


def rows_of(labels) -> Rows:
    count = len(labels)
    return Rows(torch.arange(count), torch.zeros(count, dtype=torch.int64), torch.as_tensor(labels))


def judged(real: np.ndarray, synthetic: np.ndarray, labels=None):
    rows = rows_of(np.arange(len(real)) if labels is None else labels)
    return MeanMatching(torch.from_numpy(real)).at(0)(torch.from_numpy(synthetic), rows)


def real_features(batches=None) -> RealFeatures:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(23) % 3
    values = torch.randn(23, 2, 5, generator=random) + 3 * labels[:, None, None]
    return RealFeatures(Features(values, labels), 3, batches=batches)


def test_the_case_worked_by_hand():
    """Two classes on a line: gaps 1 and 3, the real means 2 from their middle."""
    result = judged(np.array([[0.0], [4]]), np.array([[1.0], [7]]))
    assert result.loss == pytest.approx((1 + 9) / 8, abs=1e-15)
    np.testing.assert_allclose(result.gradient, [[2 / 8], [6 / 8]], atol=1e-15)
    assert result.log["mean"] == pytest.approx(2 * 2**2 / 8, abs=1e-15)


def test_loss_and_gradient_are_those_of_the_paper():
    """Classes in a loop in NumPy; the gradient by autograd of the same words."""
    random = np.random.default_rng(3)
    real, synthetic = random.normal(2, 1, (5, 7)), random.normal(-1, 2, (11, 7))
    labels = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 4])
    squares = [np.sum((synthetic[labels == label].mean(0) - mean) ** 2) for label, mean in enumerate(real)]
    spread = np.sum((real - real.mean(0)) ** 2)
    result = judged(real, synthetic, labels)
    assert result.loss == pytest.approx(sum(squares) / spread, rel=1e-13)

    features = torch.from_numpy(synthetic).requires_grad_()
    means = torch.stack([features[torch.from_numpy(labels == label)].mean(0) for label in range(5)])
    ((means - torch.from_numpy(real)).square().sum() / spread).backward()
    torch.testing.assert_close(result.gradient, features.grad, rtol=1e-12, atol=1e-15)


@given(seed=st.integers(0, 1000), classes=st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_the_loss_is_that_of_centred_means_and_of_the_common_mean(seed: int, classes: int):
    """Pythagoras (sfm.md 4): matching flows is this without the common mean and without the scale."""
    random = np.random.default_rng(seed)
    real, synthetic = random.normal(2, 1, (classes, 5)), random.normal(-1, 2, (classes, 5))
    centred = (synthetic - synthetic.mean(0)) - (real - real.mean(0))
    spread = np.sum((real - real.mean(0)) ** 2)
    result = judged(real, synthetic)
    assert result.loss == pytest.approx(np.sum(centred**2) / spread + result.log["mean"], rel=1e-11)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
@settings(max_examples=40, deadline=None)
def test_scale_and_shift_of_both_sides_change_nothing(seed: int, scale: float, shift: float):
    random = np.random.default_rng(seed)
    real, synthetic = random.normal(size=(5, 3)), random.normal(size=(5, 3))
    plain, moved = judged(real, synthetic), judged(scale * real + shift, scale * synthetic + shift)
    assert moved.loss == pytest.approx(plain.loss, rel=1e-9)
    torch.testing.assert_close(scale * moved.gradient, plain.gradient, rtol=1e-7, atol=1e-9)


def test_the_true_means_have_no_loss():
    real = np.random.default_rng(0).normal(size=(5, 7))
    result = judged(real, real)
    assert result.loss == 0 and not result.gradient.any()


def test_both_are_objectives():
    check_objective(MeanMatching)
    labels = torch.arange(31) % 5

    def make(real: torch.Tensor) -> BatchMeanMatching:
        values = torch.randn(31, 1, 7, generator=torch.Generator().manual_seed(1)).double() + real[labels][:, None]
        batches = lambda step, size, *, balanced: (values[step : step + 23, 0], labels[step : step + 23])  # noqa: E731
        return BatchMeanMatching(RealFeatures(Features(values, labels), 5, batches=batches))

    check_objective(make)


def test_a_batch_is_balanced_and_its_means_are_the_target():
    asked = []

    def batches(step: int, size: int, *, balanced: bool):
        asked.append((step, size, balanced))
        values = torch.randn(size, 5, generator=torch.Generator().manual_seed(step))
        return values, torch.arange(size) % 3

    real = real_features(batches)
    made = OBJECTIVES["dm-batch"].build(real, BatchOptions(per_class=7), ipc=1, seed=0)
    values, labels = batches(4, 21, balanced=True)
    means = np.stack([values[labels == label].double().numpy().mean(0) for label in range(3)])
    synthetic = np.random.default_rng(0).normal(size=(3, 5))
    known = real.statistics.means.numpy()
    expected = np.sum((synthetic - means) ** 2) / np.sum((known - known.mean(0)) ** 2)

    asked.clear()
    result = made.at(4)(torch.from_numpy(synthetic), rows_of(range(3)))
    assert asked == [(4, 21, True)]
    assert result.loss == pytest.approx(expected, rel=1e-12)
    assert made.at(5)(torch.from_numpy(synthetic), rows_of(range(3))).loss != result.loss


def test_the_authors_take_256_images_a_class():
    assert BatchOptions().per_class == 256


def test_without_the_images_there_is_no_batch():
    with pytest.raises(SettingsError, match="Fresh views need the real images"):
        BatchMeanMatching(real_features()).at(0)


def test_built_for_a_run_it_aims_at_the_class_means():
    real = real_features()
    assert torch.equal(OBJECTIVES["dm-mean"].build(real, Options(), ipc=5, seed=0).real, real.statistics.means)


def test_means_that_cannot_be_told_apart_are_refused():
    with pytest.raises(SettingsError, match="equal"):
        MeanMatching(torch.ones(3, 5))
    with pytest.raises(SettingsError, match="equal"):
        BatchMeanMatching(RealFeatures(Features(torch.ones(6, 1, 5), torch.arange(6) % 3), 3))
