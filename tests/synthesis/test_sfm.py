import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import ClassStatistics, Features, RealFeatures
from attar.synthesis.objectives import Rows, StatisticalFlowMatching
from attar.synthesis.objectives.sfm import FlowOptions
from attar.synthesis.objectives.spread import Spread
from attar.synthesis.objectives.targets import learned_vectors, probe_inverse, whitening
from attar.testing import check_objective
from oracles.choices import empirical_flows, flat_loss, per_class_loss, spread_loss
from oracles.flow import flow_loss


def one_row_a_class(classes: int) -> Rows:
    return Rows(torch.arange(classes), torch.zeros(classes, dtype=torch.int64), torch.arange(classes))


def many_rows(classes: int, ipc: int, views: int) -> Rows:
    images = torch.arange(classes * ipc).repeat_interleave(views)
    return Rows(images, torch.arange(views).repeat(classes * ipc), images // ipc)


def loss_of(real, synthetic, **options):
    objective = StatisticalFlowMatching(torch.as_tensor(real, dtype=torch.float64), **options)
    return objective.at(0)(torch.as_tensor(synthetic, dtype=torch.float64), one_row_a_class(len(real)))


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


CHOICES = {
    "empirical prior": {"shares": torch.tensor([0.1, 0.15, 0.2, 0.25, 0.3]).double()},
    "per class": {"per_class": True},
    "whitened": {"map": torch.randn(7, 7, generator=torch.Generator().manual_seed(2)).double()},
    "spread": {"spread": Spread(0.2, torch.tensor([0.5, 1, 2, 3, 4]).double())},
}
CHOICES["all"] = {name: value for choice in CHOICES.values() for name, value in choice.items()}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("quirk", [None, 3])
def test_every_choice_is_an_objective(choice: str, quirk: int | None):
    def make(means: torch.Tensor) -> StatisticalFlowMatching:
        return StatisticalFlowMatching(means, w_mean=0.3, w_scale=0.2, images_per_class=quirk, **CHOICES[choice])

    check_objective(make, labels=[0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4])


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_choices_are_the_specs(seed: int):
    random = np.random.default_rng(seed)
    real, synthetic, linear = random.normal(size=(5, 7)), random.normal(size=(5, 7)), random.normal(size=(7, 7))
    shares = random.dirichlet(np.full(5, 3.0))
    empirical = flat_loss(empirical_flows(real, shares), empirical_flows(synthetic, shares))
    assert loss_of(real, synthetic, shares=torch.from_numpy(shares)).loss == pytest.approx(empirical, rel=1e-12)
    alone = per_class_loss(real - real.mean(0), synthetic - synthetic.mean(0))
    assert loss_of(real, synthetic, per_class=True).loss == pytest.approx(alone, rel=1e-12)
    mapped = flow_loss(real @ linear, synthetic @ linear)
    assert loss_of(real, synthetic, map=torch.from_numpy(linear)).loss == pytest.approx(mapped, rel=1e-12)


def test_the_empirical_prior_of_equal_classes_is_the_uniform_one():
    real, synthetic = torch.randn(5, 7).double(), torch.randn(5, 7).double()
    plain, equal = (
        StatisticalFlowMatching(real, w_mean=0.1, w_scale=0.1, shares=shares).at(0)(synthetic, one_row_a_class(5))
        for shares in (None, torch.full((5,), 0.2).double())
    )
    assert equal.loss == pytest.approx(plain.loss, rel=1e-13)
    torch.testing.assert_close(equal.gradient, plain.gradient)


@given(scales=st.lists(st.floats(0.01, 100), min_size=5, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_per_class_no_flow_is_too_short_to_count(scales: list[float], seed: int):
    """Stretching single flows changes nothing, where centring has no part in it."""
    real = np.random.default_rng(seed).normal(size=(5, 3))
    real = np.vstack([real, -real])
    stretched = real * np.tile(scales, 2)[:, None]
    assert loss_of(real, stretched, per_class=True).loss == pytest.approx(0, abs=1e-9)


def test_spread_is_the_log_ratio_of_traces():
    random = np.random.default_rng(1)
    features, labels, real = random.normal(size=(23, 7)), np.arange(23) % 3, np.array([1.0, 5, 20])
    loss, _ = Spread(0.3, torch.from_numpy(real))(torch.from_numpy(features), torch.from_numpy(labels))
    assert loss == pytest.approx(0.3 * spread_loss(real, features, labels), rel=1e-12)


def test_images_that_became_one_have_a_finite_spread_and_no_gradient():
    loss, gradient = Spread(1.0, torch.ones(2))(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]))
    assert np.isfinite(loss) and not gradient.any()


def test_real_classes_without_spread_are_refused():
    with pytest.raises(SettingsError, match="class 1 are equal"):
        Spread(1.0, torch.tensor([1.0, 0.0]))


def test_a_class_in_the_middle_has_no_cosine_of_its_own():
    middle = [[1.0, 0], [0, 0], [-1, 0]]
    with pytest.raises(SettingsError, match="Class 1 has no flow"):
        loss_of(middle, middle, per_class=True)
    assert loss_of(middle, middle).loss == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("options", "ipc", "words"),
    [({"spread": 0.1}, 1, "no spread"), ({"target": "learned", "group_balanced": True}, 3, "knows no groups")],
)
def test_options_that_cannot_go_together_are_refused(options: dict, ipc: int, words: str):
    with pytest.raises(SettingsError, match=words):
        StatisticalFlowMatching.check(FlowOptions(**options), {"ant": 3}, ipc=ipc)
    StatisticalFlowMatching.check(FlowOptions(), {"ant": 3}, ipc=ipc)


def test_built_for_a_run_every_option_arrives():
    values = torch.randn(23, 2, 5) + torch.arange(23)[:, None, None] % 3
    real = RealFeatures(Features(values, torch.arange(23) % 3), 3)
    options = FlowOptions(prior="empirical", per_class=True, whiten=0.3, spread=0.2)
    built = StatisticalFlowMatching.build(real, options, ipc=2, seed=0)
    assert built.per_class and built.shares.tolist() == pytest.approx([8 / 23, 8 / 23, 7 / 23])
    assert torch.equal(built.map, whitening(real.within, 0.3))
    scatter = ClassStatistics.of(*real.rows(), 3, scatter="class")
    traces = torch.stack([own.trace() for own in scatter.scatter]) / scatter.counts
    assert built.spread.weight == 0.2
    torch.testing.assert_close(built.spread.real, traces)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("means", lambda real: real.statistics.means),
        ("learned", lambda real: learned_vectors(real, real.statistics.means[:, None])[:, 0]),
        ("probe-inverse", probe_inverse),
    ],
)
def test_the_target_is_the_one_asked_for(target: str, expected):
    values = torch.randn(23, 2, 5) + torch.arange(23)[:, None, None] % 3
    real = RealFeatures(Features(values, torch.arange(23) % 3), 3)
    built = StatisticalFlowMatching.build(real, FlowOptions(target=target), ipc=1, seed=0)
    assert torch.equal(built.real, expected(real))
