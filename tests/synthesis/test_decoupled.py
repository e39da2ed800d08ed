import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.synthesis.objectives import OBJECTIVES, DecoupledMatching, MeanMatching, Rows
from attar.synthesis.objectives.decoupled import DecoupledOptions
from attar.testing import check_objective
from oracles.decoupled import decoupled_loss


def one_row_a_class(classes: int) -> Rows:
    return Rows(torch.arange(classes), torch.zeros(classes, dtype=torch.int64), torch.arange(classes))


def judged(real: np.ndarray, synthetic: np.ndarray, alpha: float):
    objective = DecoupledMatching(torch.from_numpy(real), alpha)
    return objective.at(0)(torch.from_numpy(synthetic), one_row_a_class(len(real)))


@given(seed=st.integers(0, 1000), classes=st.integers(2, 7), alpha=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_loss_is_the_authors_loss(seed: int, classes: int, alpha: float):
    random = np.random.default_rng(seed)
    real, synthetic = random.normal(2, 1, (classes, 5)), random.normal(-1, 2, (classes, 5))
    assert judged(real, synthetic, alpha).loss == pytest.approx(decoupled_loss(real, synthetic, alpha), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_gradient_is_autograds(alpha: float):
    random = np.random.default_rng(3)
    real, synthetic = random.normal(2, 1, (5, 7)), random.normal(-1, 2, (5, 7))
    means, target = torch.from_numpy(synthetic).requires_grad_(), torch.from_numpy(real)
    others, wanted = ((each.sum(0) - each) / 4 for each in (means, target))
    loss = alpha * (means - target).square().mean() + (1 - alpha) * (others - wanted).square().mean()
    loss.backward()
    torch.testing.assert_close(judged(real, synthetic, alpha).gradient, means.grad, rtol=1e-12, atol=1e-15)


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_at_alpha_1_it_is_mean_matching_but_for_the_unit(seed: int):
    random = np.random.default_rng(seed)
    real, synthetic = random.normal(size=(5, 3)), random.normal(size=(5, 3))
    means = MeanMatching(torch.from_numpy(real)).at(0)(torch.from_numpy(synthetic), one_row_a_class(5))
    unit = np.sum((real - real.mean(0)) ** 2) / real.size
    result = judged(real, synthetic, 1.0)
    assert result.loss == pytest.approx(unit * means.loss, rel=1e-12)
    torch.testing.assert_close(result.gradient, unit * means.gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_it_is_an_objective(alpha: float):
    check_objective(lambda real: DecoupledMatching(real, alpha))


def test_built_for_a_run_it_aims_at_the_class_means():
    real = RealFeatures(Features(torch.randn(23, 2, 5), torch.arange(23) % 3), 3)
    made = OBJECTIVES["sfm-decoupled"].build(real, DecoupledOptions(alpha=0.3), ipc=5, seed=0)
    assert torch.equal(made.real, real.statistics.means) and made.alpha == 0.3


def test_one_class_has_no_others():
    with pytest.raises(SettingsError, match="two classes"):
        DecoupledMatching(torch.tensor([[1.0, 2]]))
