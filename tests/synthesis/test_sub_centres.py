import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.synthesis.objectives import OBJECTIVES, Rows, StatisticalFlowMatching, SubCentreFlowMatching
from attar.synthesis.objectives.sub_centres import SubCentreOptions
from attar.synthesis.objectives.targets import learned_vectors
from attar.testing import check_objective
from oracles.sub_flow import sub_flow_loss

REGULARISED = {"w_mean": 0.3, "w_scale": 0.2}


def rows_of(classes: int, count: int, views: int = 1) -> Rows:
    images = torch.arange(classes * count).repeat_interleave(views)
    return Rows(images, torch.arange(views).repeat(classes * count), images // count)


def drawn(seed: int, classes: int = 5, count: int = 3, dim: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real and synthetic sub-centres far from the origin, and shares."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(count, 3.0), size=classes)
    shape = (classes, count, dim)
    return random.normal(2, 1, shape), random.normal(-1, 2, shape), shares


def judged(real: np.ndarray, synthetic: np.ndarray, shares: np.ndarray, **options):
    objective = SubCentreFlowMatching(torch.from_numpy(real), torch.from_numpy(shares), **options)
    classes, count, _ = synthetic.shape
    return objective.at(0)(torch.from_numpy(synthetic).flatten(0, 1), rows_of(classes, count))


def real_features(images: int = 47, classes: int = 3, seed: int = 0) -> RealFeatures:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    values = torch.randn(images, 2, 5, generator=random) + 3 * labels[:, None, None]
    return RealFeatures(Features(values, labels), classes)


def test_the_case_worked_by_hand():
    """Two classes on a line, shares 1/4 and 3/4: flows are sqrt(share) · (other class's mean - sub-centre)."""
    real = np.array([[[0.0], [4.0]], [[8.0], [12.0]]])  # means 3 and 11
    synthetic = np.array([[[1.0], [1.0]], [[2.0], [2.0]]])  # means 1 and 2
    flows_real = np.sqrt([0.25, 0.75, 0.25, 0.75]) * [11, 7, -5, -9]
    flows = np.sqrt([0.25, 0.75, 0.25, 0.75]) * [1, 1, -1, -1]
    cosine = flows_real @ flows / np.linalg.norm(flows_real) / np.linalg.norm(flows)
    result = judged(real, synthetic, np.array([[0.25, 0.75], [0.25, 0.75]]))
    assert result.loss == pytest.approx(1 - cosine, abs=1e-15)
    assert result.log["cosine"] == pytest.approx(16 / np.sqrt(2 * 134), abs=1e-15)
    assert result.log["scale"] == pytest.approx(np.sqrt(2 / 134), abs=1e-15)
    assert result.log["mean"] == pytest.approx(2 * (7 - 1.5) ** 2 / 32, abs=1e-15)


@given(
    seed=st.integers(0, 1000),
    classes=st.integers(2, 7),
    count=st.sampled_from([1, 2, 5]),
    weights=st.sampled_from([{"w_mean": 0.0, "w_scale": 0.0}, REGULARISED]),
)
@settings(max_examples=60, deadline=None)
def test_the_loss_is_the_specs(seed: int, classes: int, count: int, weights: dict[str, float]):
    real, synthetic, shares = drawn(seed, classes, count)
    expected = sub_flow_loss(real, synthetic, shares, **weights)
    assert judged(real, synthetic, shares, **weights).loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("options", [{}, REGULARISED])
def test_the_gradient_is_autograds(options: dict[str, float]):
    """Against autograd of the terms as the spec writes them, with several views of each image."""
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(5, 3, 7, generator=generator, dtype=torch.float64)
    features = torch.randn(5 * 3 * 2, 7, generator=generator, dtype=torch.float64).add_(2).requires_grad_()
    shares = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.7, 0.2, 0.1], [0.8, 0.1, 0.1]])
    shares = shares.double()

    def flows_and_means(centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = torch.einsum("ck,ckd->cd", shares, centres)
        others = torch.stack([torch.cat([means[:c], means[c + 1 :]]).mean(0) for c in range(5)])
        return shares.sqrt()[:, :, None] * (others[:, None] - centres), means

    flows_real, means_real = flows_and_means(real)
    flows, means = flows_and_means(features.reshape(5, 3, 2, 7).mean(2))
    loss = 1 - (flows_real * flows).sum() / (flows_real.norm() * flows.norm())
    spread = (means_real - means_real.mean(0)).square().sum()
    mean_loss = 5 * (means.mean(0) - means_real.mean(0)).square().sum() / spread
    scale_loss = (flows.norm() / flows_real.norm()).log().square()
    loss = loss + options.get("w_mean", 0) * mean_loss + options.get("w_scale", 0) * scale_loss
    loss.backward()

    result = SubCentreFlowMatching(real, shares, **options).at(0)(features.detach(), rows_of(5, 3, 2))
    assert result.loss == pytest.approx(float(loss.detach()), rel=1e-13)
    torch.testing.assert_close(result.gradient, features.grad, rtol=1e-12, atol=1e-16)


@given(seed=st.integers(0, 1000), classes=st.integers(2, 11))
@settings(max_examples=30, deadline=None)
def test_one_image_a_class_is_flow_matching(seed: int, classes: int):
    real, synthetic, shares = drawn(seed, classes, count=1)
    plain = StatisticalFlowMatching(torch.from_numpy(real[:, 0]), **REGULARISED)
    expected = plain.at(0)(torch.from_numpy(synthetic[:, 0]), rows_of(classes, 1))
    result = judged(real, synthetic, shares, **REGULARISED)
    assert result.loss == pytest.approx(expected.loss, rel=1e-12)
    assert result.log == pytest.approx(expected.log, rel=1e-12)
    torch.testing.assert_close(result.gradient, expected.gradient, rtol=1e-12, atol=1e-14)


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_scale_and_shift_change_nothing(scale: float, shift: float, seed: int):
    real, _, shares = drawn(seed)
    assert judged(real, scale * real + shift, shares).loss == pytest.approx(0, abs=1e-9)
    assert judged(real, -scale * real + shift, shares).loss == pytest.approx(2, abs=1e-9)


@given(seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_the_cosines_gradient_has_no_common_part_and_no_radial_part(seed: int):
    real, synthetic, shares = drawn(seed)
    gradient = judged(real, synthetic, shares).gradient.numpy()
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-13)
    assert np.sum(gradient * (synthetic.reshape(15, 7) - synthetic.mean((0, 1)))) == pytest.approx(0, abs=1e-13)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_renumbering_classes_and_their_clusters_permutes_the_gradient(seed: int):
    real, synthetic, shares = drawn(seed)
    random = np.random.default_rng(seed)
    classes = random.permutation(5)[:, None]
    clusters = np.stack([random.permutation(3) for _ in range(5)])
    plain = judged(real, synthetic, shares, **REGULARISED)
    moved = judged(real[classes, clusters], synthetic[classes, clusters], shares[classes, clusters], **REGULARISED)
    assert moved.loss == pytest.approx(plain.loss, rel=1e-12)
    expected = plain.gradient.reshape(5, 3, 7).numpy()[classes, clusters]
    np.testing.assert_allclose(moved.gradient.reshape(5, 3, 7), expected, rtol=1e-10, atol=1e-14)


def test_images_that_swap_their_clusters_are_another_loss():
    """Class means don't see which image is which; sub-centres do."""
    real, _, _ = drawn(1)
    assert judged(real, real, np.full((5, 3), 1 / 3)).loss == pytest.approx(0, abs=1e-14)
    assert judged(real, real[:, [1, 0, 2]], np.full((5, 3), 1 / 3)).loss > 0.1


def test_an_image_is_known_by_its_id_within_the_class():
    """Ids with gaps, classes interleaved, rows in any order."""
    real, synthetic, shares = drawn(2, classes=2, count=2)
    plain = judged(real, synthetic, shares)
    ids, labels = torch.tensor([90, 2, 7, 5]), torch.tensor([1, 0, 1, 0])  # class 0: 2, 5; class 1: 7, 90
    features = torch.from_numpy(synthetic)[[1, 0, 1, 0], [1, 0, 0, 1]]
    objective = SubCentreFlowMatching(torch.from_numpy(real), torch.from_numpy(shares))
    result = objective.at(0)(features, Rows(ids, torch.zeros(4, dtype=torch.int64), labels))
    assert result.loss == pytest.approx(plain.loss, rel=1e-13)
    torch.testing.assert_close(result.gradient, plain.gradient.reshape(2, 2, 7)[[1, 0, 1, 0], [1, 0, 0, 1]])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [{}, REGULARISED])
def test_sub_centre_flow_matching_is_an_objective(count: int, options: dict[str, float]):
    offsets = torch.randn(5, count, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shares = torch.arange(1.0, count + 1).double().expand(5, -1) / sum(range(count + 1))

    def make(means: torch.Tensor) -> SubCentreFlowMatching:
        return SubCentreFlowMatching(means[:, None] + offsets, shares, **options)

    check_objective(make, labels=[label for label in range(5) for _ in range(count)])


def test_the_log_has_flow_matchings_figures():
    real, synthetic, shares = drawn(3)
    plain = StatisticalFlowMatching(torch.from_numpy(real.mean(1))).at(0)
    features = torch.from_numpy(synthetic.mean(1))
    assert judged(real, synthetic, shares).log.keys() == plain(features, rows_of(5, 1)).log.keys()


def test_built_for_a_run_it_aims_at_equal_clusters_without_weights():
    real = real_features()
    objective = OBJECTIVES["sfm-sub"].build(real, SubCentreOptions(w_mean=0.3, w_scale=0.2), ipc=3, seed=0)
    centres, shares = real.sub_centres(3)
    assert torch.equal(objective.centres, centres) and torch.equal(objective.shares, shares)
    assert (objective.w_mean, objective.w_scale, objective.image_weights) == (0.3, 0.2, None)


def test_built_for_unequal_clusters_images_weigh_their_shares():
    real = real_features()
    objective = SubCentreFlowMatching.build(real, SubCentreOptions(equal_clusters=False), ipc=3, seed=0)
    _, shares = real.sub_centres(3, equal=False)
    assert objective.image_weights.tolist() == pytest.approx((3 * shares).flatten().tolist())
    torch.testing.assert_close(objective.image_weights.reshape(3, 3).sum(1), torch.full((3,), 3.0).double())


@pytest.mark.parametrize("equal", [True, False])
def test_built_for_learned_targets_all_images_count_the_same(equal: bool):
    real = real_features()
    options = SubCentreOptions(target="learned", equal_clusters=equal)
    objective = SubCentreFlowMatching.build(real, options, ipc=3, seed=0)
    assert torch.equal(objective.centres, learned_vectors(real, real.sub_centres(3, equal=equal)[0]))
    assert (
        torch.equal(objective.shares, torch.full((3, 3), 1 / 3, dtype=torch.float64))
        and objective.image_weights is None
    )


def test_images_of_class_means_count_the_same():
    assert StatisticalFlowMatching(torch.eye(3)).image_weights is None


@pytest.mark.parametrize("shares", [[[0.5, 0.6], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]]], ids=["sum", "zero"])
def test_shares_that_are_none_are_refused(shares: list):
    with pytest.raises(SettingsError, match="positive and sum to 1"):
        SubCentreFlowMatching(torch.randn(2, 2, 3), torch.tensor(shares))


def test_targets_that_cannot_be_matched_are_refused():
    same = torch.tensor([[0.0, 2], [2, 0]])[:, :, None]  # other sub-centres, the same class means
    with pytest.raises(SettingsError, match="class means are equal"):
        SubCentreFlowMatching(same, torch.full((2, 2), 0.5))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        ([0, 1, 2], [0, 0, 1], "2 synthetic images in each of 2 classes"),
        ([0, 1, 2, 3, 4], [0, 0, 1, 1, 1], "2 synthetic images in each of 2 classes"),
        ([0, 1, 2, 3, 3], [0, 0, 1, 1, 1], "same number of views"),
        ([0, 0, 0, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1], "same number of views"),
    ],
)
def test_other_numbers_of_images_or_views_are_refused(images: list, labels: list, words: str):
    objective = SubCentreFlowMatching(torch.randn(2, 2, 3), torch.full((2, 2), 0.5))
    rows = Rows(torch.tensor(images), torch.zeros(len(images), dtype=torch.int64), torch.tensor(labels))
    with pytest.raises(SettingsError, match=words):
        objective.at(0)(torch.randn(len(images), 3), rows)


def test_equal_synthetic_images_warn_and_stay_finite():
    real, synthetic, shares = drawn(4)
    with pytest.warns(UserWarning, match="synthetic class means are equal"):
        result = judged(real, np.full_like(synthetic, 2.0), shares)
    assert torch.isfinite(result.gradient).all()
