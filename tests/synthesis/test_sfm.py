import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.synthesis.objectives import Rows, StatisticalFlowMatching
from attar.synthesis.objectives.sfm import FlowOptions
from oracles.flow import flow_loss


def one_row_a_class(classes: int) -> Rows:
    return Rows(torch.arange(classes), torch.zeros(classes, dtype=torch.int64), torch.arange(classes))


def many_rows(classes: int, ipc: int, views: int) -> Rows:
    images = torch.arange(classes * ipc).repeat_interleave(views)
    return Rows(images, torch.arange(views).repeat(classes * ipc), images // ipc)


def loss_of(real: list, synthetic: list, **options):
    objective = StatisticalFlowMatching(torch.tensor(real, dtype=torch.float64), **options)
    return objective.at(0)(torch.tensor(synthetic, dtype=torch.float64), one_row_a_class(len(real)))


def test_a_shift_of_all_features_is_invisible():
    assert loss_of([[1, 0], [-1, 0]], [[3, 1], [1, 1]]).loss == pytest.approx(0, abs=1e-15)


def test_the_authors_divisor_sees_the_shift():
    rows = Rows(torch.arange(4), torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1]))
    objective = StatisticalFlowMatching(torch.tensor([[1.0, 0], [-1, 0]]).double(), images_per_class=2)
    features = torch.tensor([[3.0, 1], [3, 1], [1, 1], [1, 1]]).double()
    assert objective.at(0)(features, rows).loss == pytest.approx(1 / 3, abs=1e-15)


def test_the_case_worked_by_hand():
    judged = loss_of([[0, 0], [3, 0], [0, 3]], [[1, 0], [0, 1], [0, 0]])
    assert judged.loss == pytest.approx(1.5, abs=1e-15)
    assert judged.log["cosine"] == pytest.approx(-0.5, abs=1e-15)
    np.testing.assert_allclose(judged.gradient, [[0, 0.375], [-0.375, 0], [0.375, -0.375]], atol=1e-15)


def test_two_classes_flow_towards_each_other():
    real, synthetic = [[1.0, 2], [3, 5]], [[0.0, 1], [2, 2]]
    between = (np.subtract(*real), np.subtract(*synthetic))
    cosine = np.dot(*between) / np.prod([np.linalg.norm(flow) for flow in between])
    assert loss_of(real, synthetic).loss == pytest.approx(1 - cosine, abs=1e-14)


@pytest.mark.parametrize("ipc", [1, 3])
def test_the_loss_is_the_authors_loss(ipc: int):
    random = np.random.default_rng(5)
    real, features = random.normal(size=(7, 11)), random.normal(size=(7 * ipc * 2, 11)) + 3
    rows = many_rows(7, ipc, 2)
    means = features.reshape(7, ipc * 2, 11).mean(1)
    for quirk, divisor in ((None, 6), (ipc, 7 * ipc - 1)):
        objective = StatisticalFlowMatching(torch.from_numpy(real), images_per_class=quirk)
        judged = objective.at(0)(torch.from_numpy(features), rows)
        assert judged.loss == pytest.approx(flow_loss(real, means, divisor=divisor), rel=1e-13)


@pytest.mark.parametrize("quirk", [None, 3])
def test_the_gradient_is_autograds(quirk: int | None):
    """Against autograd of the terms as the paper writes them, all three at once."""
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    features = torch.randn(5 * 3 * 2, 7, generator=generator, dtype=torch.float64).add_(2).requires_grad_()
    objective = StatisticalFlowMatching(real, w_mean=0.3, w_scale=0.2, images_per_class=quirk)

    means = features.reshape(5, 6, 7).mean(1)
    divisor = 4 if quirk is None else 14
    flows_real = torch.stack([(real.sum(0) - mean) / 4 - mean for mean in real])
    flows = torch.stack([(means.sum(0) - mean) / divisor - mean for mean in means])
    cosine = (flows_real * flows).sum() / (flows_real.norm() * flows.norm())
    spread_real = (real - real.mean(0)).norm()
    centred = means - means.mean(0) / (quirk or 1)
    loss = 1 - cosine + 0.3 * 5 * (means.mean(0) - real.mean(0)).square().sum() / spread_real**2
    loss = loss + 0.2 * (centred.norm() / spread_real).log().square()
    loss.backward()

    judged = objective.at(0)(features.detach(), many_rows(5, 3, 2))
    assert judged.loss == pytest.approx(float(loss.detach()), rel=1e-13)
    torch.testing.assert_close(judged.gradient, features.grad, rtol=1e-12, atol=1e-16)


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_scale_and_shift_change_nothing(scale: float, shift: float, seed: int):
    real = np.random.default_rng(seed).normal(size=(5, 3))
    assert loss_of(real.tolist(), (scale * real + shift).tolist()).loss == pytest.approx(0, abs=1e-9)
    assert loss_of(real.tolist(), (-scale * real + shift).tolist()).loss == pytest.approx(2, abs=1e-9)


@given(seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_the_gradient_has_no_common_part_and_no_radial_part(seed: int):
    random = np.random.default_rng(seed)
    real, synthetic = random.normal(size=(5, 7)), random.normal(size=(5, 7))
    gradient = loss_of(real.tolist(), synthetic.tolist()).gradient.numpy()
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-13)
    assert np.sum(gradient * (synthetic - synthetic.mean(0))) == pytest.approx(0, abs=1e-13)


def test_showing_every_view_twice_keeps_the_loss_and_halves_the_gradient():
    real, features = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    objective = StatisticalFlowMatching(real, w_mean=0.1, w_scale=0.1)
    once = objective.at(0)(features, one_row_a_class(5))
    twice = objective.at(0)(features.repeat_interleave(2, 0), many_rows(5, 1, 2))
    assert twice.loss == pytest.approx(once.loss)
    torch.testing.assert_close(twice.gradient[::2], once.gradient / 2)


def test_equal_synthetic_means_warn_and_stay_finite():
    with pytest.warns(UserWarning, match="synthetic class means are equal"):
        judged = loss_of([[1, 0], [0, 1]], [[2, 2], [2, 2]])
    assert torch.isfinite(judged.gradient).all()


@pytest.mark.parametrize(
    ("real", "words"),
    [([[1.0, 2]], "two classes"), ([[1.0, 2], [1, 2]], "equal"), ([[1.0, float("nan")], [1, 2]], "not finite")],
)
def test_targets_that_cannot_be_matched_are_refused(real: list, words: str):
    with pytest.raises(SettingsError, match=words):
        StatisticalFlowMatching(torch.tensor(real))


def test_a_class_without_images_is_refused():
    objective = StatisticalFlowMatching(torch.randn(3, 2))
    rows = Rows(torch.arange(2), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 2]))
    with pytest.raises(SettingsError, match="Class 1 has no synthetic image"):
        objective.at(0)(torch.randn(2, 2), rows)


def test_built_for_a_run_it_aims_at_the_class_means_or_at_balanced_ones():
    values, labels = torch.randn(23, 2, 5), torch.arange(23) % 3
    real = RealFeatures(Features(values, labels), 3, groups=torch.arange(23) % 7 // 5)
    plain, balanced = (
        StatisticalFlowMatching.build(real, FlowOptions(w_mean=0.3, w_scale=0.2, **options), ipc=5, seed=0)
        for options in ({"paper_quirks": True}, {"group_balanced": True})
    )
    assert torch.equal(plain.real, real.statistics.means) and torch.equal(balanced.real, real.balanced_means)
    assert (plain.w_mean, plain.w_scale, plain.images_per_class) == (0.3, 0.2, 5)
    assert balanced.images_per_class is None
