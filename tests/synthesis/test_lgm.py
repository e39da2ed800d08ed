import dataclasses
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.synthesis.objectives import OBJECTIVES, LinearGradientMatching, Rows, StatisticalFlowMatching
from attar.synthesis.objectives.lgm import GradientOptions, Head, head_gradient, match_gradients
from attar.testing import check_objective

CLASSES, DIM = 5, 7


def rows_of(labels: torch.Tensor) -> Rows:
    return Rows(torch.arange(len(labels)), torch.zeros(len(labels), dtype=torch.int64), labels)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_head(classes: int, dim: int, std: float = 1.0, seed: int = 0) -> Head:
    return Head(std * normal(classes, dim, seed=seed), std * normal(classes, seed=seed + 1))


def real_features(count: int = 61, batches=None, dtype=torch.float64) -> RealFeatures:
    """Two views of each image; classes of different sizes and places."""
    labels = torch.arange(count) % 11 % CLASSES
    values = normal(count, 2, DIM) + 2 * normal(CLASSES, DIM, seed=1)[labels][:, None] + 1
    return RealFeatures(Features(values.to(dtype), labels), CLASSES, batches=batches)


def built(data: RealFeatures, seed: int = 0, **options) -> LinearGradientMatching:
    return LinearGradientMatching.build(data, GradientOptions(**options), ipc=1, seed=seed)


def cross_entropy_gradient(features, labels, head: Head, weights=None, create_graph: bool = False) -> torch.Tensor:
    """By autograd: of the mean, or the weighted sum, over rows; weight and bias side by side."""
    weight, bias = head.weight.clone().requires_grad_(), head.bias.clone().requires_grad_()
    losses = torch.nn.functional.cross_entropy(features @ weight.T + bias, labels, reduction="none")
    loss = losses.mean() if weights is None else (losses * weights).sum()
    to_weight, to_bias = torch.autograd.grad(loss, (weight, bias), create_graph=create_graph)
    return torch.cat([to_weight, to_bias[:, None]], dim=1)


def by_double_backward(features, labels, head: Head, real: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Loss and gradient as the published loop computes them: through the head's gradient."""
    leaf = features.clone().requires_grad_()
    synthetic = cross_entropy_gradient(leaf, labels, head, create_graph=True)
    loss = 1 - torch.nn.functional.cosine_similarity(real.flatten(), synthetic.flatten(), dim=0)
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_the_case_worked_by_hand():
    head = Head(torch.tensor([[1.0, 0], [0, 1], [0, 0]]).double(), torch.tensor([0, 0, 0.5]).double())
    real = torch.tensor([[2.0, 0], [0, 2], [-1, -1], [1, 1]]).double()
    synthetic, labels = torch.tensor([[1.0, 0], [0, 1], [-1, 0]]).double(), torch.arange(3)
    wanted = head_gradient(real, torch.tensor([0, 1, 2, 0]), head, torch.full((4,), 0.25).double())
    of_weight = [[-0.3245948983, -0.1428454364], [0.1071545636, -0.0745948983], [0.2174403347, 0.2174403347]]
    of_bias = [-0.1565797809, 0.0934202191, 0.0631595617]
    np.testing.assert_allclose(wanted, np.column_stack([of_weight, of_bias]), atol=1e-10)
    loss, gradient = match_gradients(synthetic, labels, head, wanted)
    assert loss == pytest.approx(0.2483166822, abs=1e-10)
    expected = [[-0.0080463329, -0.3394155946], [0.2872212955, -0.0093551696], [-0.0884765580, 0.1163608497]]
    np.testing.assert_allclose(gradient, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("classes", "dim", "rows", "std", "length"),
    [(10, 31, 100, 0.01, 10), (10, 31, 100, 1, 10), (37, 101, 370, 0.1, 40), (3, 5, 3, 1, 1), (2, 7, 40, 0.01, 5)],
)
def test_the_closed_form_is_double_backward(classes: int, dim: int, rows: int, std: float, length: float):
    head = drawn_head(classes, dim, std)
    features, labels = normal(rows, dim, seed=2) * length / dim**0.5, torch.arange(rows) % classes
    real = cross_entropy_gradient(normal(4 * classes, dim, seed=3) + 1, torch.arange(4 * classes) % classes, head)
    loss, gradient = match_gradients(features, labels, head, real)
    expected_loss, expected = by_double_backward(features, labels, head, real)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert distance(gradient, expected) < 1e-12


@pytest.mark.parametrize("source", ["statistics", "features"])
def test_with_heads_of_zeros_it_is_flow_matching(source: str):
    real = real_features()
    features, labels = normal(3 * CLASSES, DIM, seed=5), torch.arange(3 * CLASSES) % CLASSES
    judged = built(real, real=source, head_std=0).at(0)(features, rows_of(labels))
    flow = StatisticalFlowMatching(real.statistics.means).at(0)(features, rows_of(labels))
    assert judged.loss == pytest.approx(flow.loss, abs=1e-14)
    torch.testing.assert_close(judged.gradient, flow.gradient, rtol=1e-12, atol=1e-15)
    assert abs(float((judged.gradient * features).sum())) < 1e-14


class Case:
    """A random head, a real gradient, and synthetic rows that don't all belong to different classes."""

    def __init__(self, seed: int):
        self.head = drawn_head(CLASSES, DIM, 0.5, seed)
        self.features, self.labels = normal(11, DIM, seed=seed + 2), torch.arange(11) % CLASSES
        self.rows, self.row_labels = normal(23, DIM, seed=seed + 3) + 1, torch.arange(23) % CLASSES

    def judge(self) -> tuple[float, torch.Tensor]:
        real = head_gradient(self.rows, self.row_labels, self.head, torch.full((len(self.rows),), 1 / 23).double())
        return match_gradients(self.features, self.labels, self.head, real)


seeds = given(seed=st.integers(0, 1000))
often = settings(max_examples=30, deadline=None)


@seeds
@often
def test_the_loss_is_between_0_and_2(seed: int):
    assert 0 <= Case(seed).judge()[0] <= 2


@seeds
@often
def test_the_order_of_classes_decides_nothing(seed: int):
    plain, moved = Case(seed), Case(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(CLASSES))
    place = order.argsort()
    moved.head = Head(plain.head.weight[order], plain.head.bias[order])
    moved.labels, moved.row_labels = place[plain.labels], place[plain.row_labels]
    assert moved.judge()[0] == pytest.approx(plain.judge()[0], abs=1e-12)
    torch.testing.assert_close(moved.judge()[1], plain.judge()[1], rtol=1e-9, atol=1e-13)


@seeds
@often
def test_what_all_classes_have_in_common_in_the_head_decides_nothing(seed: int):
    plain, moved = Case(seed), Case(seed)
    moved.head = Head(plain.head.weight + normal(DIM, seed=seed + 7), plain.head.bias + 3)
    assert moved.judge()[0] == pytest.approx(plain.judge()[0], abs=1e-12)
    torch.testing.assert_close(moved.judge()[1], plain.judge()[1], rtol=1e-9, atol=1e-13)


@seeds
@often
def test_turning_features_and_head_turns_the_gradient(seed: int):
    plain, turned = Case(seed), Case(seed)
    turn = torch.linalg.qr(normal(DIM, DIM, seed=seed + 7))[0]
    turned.head = Head(plain.head.weight @ turn, plain.head.bias)
    turned.features, turned.rows = plain.features @ turn, plain.rows @ turn
    assert turned.judge()[0] == pytest.approx(plain.judge()[0], abs=1e-12)
    torch.testing.assert_close(turned.judge()[1], plain.judge()[1] @ turn, rtol=1e-9, atol=1e-13)


@seeds
@often
def test_what_is_real_already_has_no_loss(seed: int):
    case = Case(seed)
    case.rows, case.row_labels = case.features.repeat(3, 1), case.labels.repeat(3)
    loss, gradient = case.judge()
    assert abs(loss) < 1e-14 and float(gradient.norm()) < 1e-13


def distance_of_gradients(scale: float) -> float:
    """1 - cos between the gradients from statistics and from all rows; mean over heads of that deviation of logits."""
    labels = torch.arange(1400) % CLASSES
    shapes = normal(CLASSES, DIM, DIM, seed=1) / DIM**0.5  # each class has a covariance of its own
    noise = torch.einsum("nd,nde->ne", normal(1400, DIM), shapes[labels])
    values = 3 + 2 * normal(CLASSES, DIM, seed=2)[labels] + noise
    real = RealFeatures(Features(values[:, None], labels), CLASSES)
    short, exact = (built(real, real=source, head_scale=scale) for source in ("statistics", "features"))
    heads = [short.head(0, number) for number in range(7)]
    cosines = [
        torch.nn.functional.cosine_similarity(short.real(head, 0, 0).flatten(), exact.real(head, 0, 0).flatten(), dim=0)
        for head in heads
    ]
    return float(np.mean([1 - float(cosine) for cosine in cosines]))


def test_statistics_give_the_exact_gradient_up_to_the_fourth_order_of_the_head():
    far, near, middle = (distance_of_gradients(scale) for scale in (0.2, 0.05, 0.5))
    assert middle < 1e-4
    assert np.log(far / near) / np.log(0.2 / 0.05) > 3.5


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
def test_real_features_give_the_gradient_of_all_rows(prior: str):
    real = real_features()
    values, labels = real.rows()
    head = drawn_head(CLASSES, DIM, 0.3)
    counts = torch.bincount(labels).double()
    weights = 1 / (CLASSES * counts[labels]) if prior == "uniform" else None
    expected = cross_entropy_gradient(values, labels, head, weights)
    assert counts.unique().numel() > 1
    assert distance(built(real, real="features", prior=prior).real(head, 0, 0), expected) < 1e-13


def test_statistics_know_how_large_classes_are_where_asked():
    real = real_features()
    zeros = Head(torch.zeros(CLASSES, DIM).double(), torch.zeros(CLASSES).double())
    means, shares = real.statistics.means, real.statistics.counts.double() / real.statistics.counts.sum()
    common = (shares[:, None] * means).sum(0)
    gradient = built(real, prior="empirical").real(zeros, 0, 0)
    torch.testing.assert_close(gradient[:, :-1], common / CLASSES - shares[:, None] * means)
    torch.testing.assert_close(gradient[:, -1], 1 / CLASSES - shares)


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
def test_a_batch_has_as_many_images_as_there_are_synthetic_rows(prior: str):
    asked = []

    def batches(step: int, size: int, *, balanced: bool):
        asked.append((step, size, balanced))
        return normal(size, DIM, seed=step).float(), torch.arange(size) % CLASSES

    made = built(real_features(batches=batches), real="batch", prior=prior, head_std=0.3)
    features, labels = normal(13, DIM, seed=5), torch.arange(13) % CLASSES
    judged = made.at(3)(features, rows_of(labels))
    assert asked == [(3, 13, prior == "uniform")]
    values, drawn = batches(3, 13, balanced=True)
    expected = cross_entropy_gradient(values.double(), drawn, made.head(3, 0))
    loss, gradient = by_double_backward(features, labels, made.head(3, 0), expected)
    assert judged.loss == pytest.approx(loss, rel=1e-12) and distance(judged.gradient, gradient) < 1e-12


def test_several_heads_count_by_their_mean():
    made = built(real_features(), heads=3, head_std=0.3)
    features, labels = normal(11, DIM, seed=5), torch.arange(11) % CLASSES
    judged = made.at(2)(features, rows_of(labels))
    heads = [made.head(2, number) for number in range(3)]
    single = [match_gradients(features, labels, head, made.real(head, 2, 11)) for head in heads]
    assert judged.loss == pytest.approx(np.mean([loss for loss, _ in single]), rel=1e-13)
    torch.testing.assert_close(judged.gradient, sum(gradient for _, gradient in single) / 3)
    assert judged.log["cosine"] == pytest.approx(1 - judged.loss)


def test_heads_are_named_by_seed_step_and_number():
    made = LinearGradientMatching(lambda head, step, rows: head.weight, 31, 37, seed=3, head_std=0.2)
    weight = made.head(5, 1).weight
    assert torch.equal(weight, made.head(5, 1).weight)
    others = [made.head(6, 1), made.head(5, 0), dataclasses.replace(made, seed=4).head(5, 1)]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([weight.flatten(), other.weight.flatten()]))[0, 1])) < 0.15
    assert float(weight.std()) == pytest.approx(0.2, rel=0.1) and not made.head(5, 1).bias.any()


def test_the_heads_scale_is_the_deviation_of_the_logits():
    real = real_features(dtype=torch.float32)
    made = built(real, head_scale=0.3)
    values = real.rows()[0].double()
    assert made.head_std == pytest.approx(0.3 / float(values.square().sum(1).mean().sqrt()), rel=1e-5)
    logits = torch.cat([values @ made.head(step, 0).weight.T for step in range(200)])
    assert float(logits.square().mean().sqrt()) == pytest.approx(0.3, rel=0.05)
    judged = made.at(0)(values[::2], rows_of(real.features.labels))
    expected = made.head_std * np.sqrt(np.mean(np.sum(values[::2].numpy() ** 2, axis=1)))
    assert judged.log["logit_spread"] == pytest.approx(expected, rel=1e-12)


def test_statistics_warn_of_heads_that_they_cannot_follow():
    real = real_features()
    with pytest.warns(UserWarning, match="statistics are a poor guide above 4; use --set real=features"):
        built(real, head_scale=4.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built(real, head_scale=3.9)
        built(real, head_scale=4.1, real="features")


@pytest.mark.parametrize("source", ["statistics", "features", "batch"])
def test_it_is_an_objective(source: str):
    labels = torch.arange(31) % CLASSES

    def make(means: torch.Tensor) -> LinearGradientMatching:
        values = normal(31, 1, DIM) + means[labels][:, None]
        batches = lambda step, size, *, balanced: (values[step : step + 11, 0], labels[step : step + 11])  # noqa: E731
        real = RealFeatures(Features(values, labels), CLASSES, batches=batches)
        return built(real, real=source, heads=3, head_std=0.3)

    check_objective(make)


def test_features_without_a_gradient_are_refused():
    made = LinearGradientMatching(lambda head, step, rows: torch.ones(2, DIM + 1), 2, DIM, head_std=0.0)
    with pytest.raises(SettingsError, match="random head has no gradient"):
        made.at(0)(torch.zeros(2, DIM), rows_of(torch.arange(2)))


def test_it_is_built_by_name_with_the_published_head():
    made = OBJECTIVES["lgm"].build(real_features(), GradientOptions(), ipc=1, seed=11)
    assert (made.classes, made.dim, made.seed, made.heads, made.head_std) == (CLASSES, DIM, 11, 1, 0.01)
