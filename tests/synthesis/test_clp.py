import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.synthesis.objectives import OBJECTIVES, ClosedFormProbe, Rows
from attar.synthesis.objectives.clp import ProbeOptions
from attar.testing import check_objective
from oracles.probe import probe_loss

KINDS = [
    {"unit_length": unit, "intercept": intercept} for unit, intercept in itertools.product([False, True], repeat=2)
]
CLASSES, IMAGES, VIEWS, DIM = 5, 7, 2, 11


def rows_of(labels, views: int = 1) -> Rows:
    images = torch.arange(len(labels)).repeat_interleave(views)
    return Rows(images, torch.arange(views).repeat(len(labels)), torch.as_tensor(labels)[images])


def drawn(seed: int = 0, dim: int = DIM) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Rows]:
    """Real features with their labels, synthetic ones with theirs: two views of each of seven images."""
    random = np.random.default_rng(seed)
    real, answers = random.normal(1, 2, (61, dim)), random.integers(CLASSES, size=61)
    synthetic = random.normal(-1, 2, (IMAGES * VIEWS, dim))
    rows = rows_of([0, 1, 2, 3, 4, 4, 2], VIEWS)
    return real, answers, synthetic, rows.label.numpy(), rows


def probe(real: np.ndarray, answers: np.ndarray, **options) -> ClosedFormProbe:
    return ClosedFormProbe(torch.from_numpy(real), torch.from_numpy(answers), CLASSES, ProbeOptions(**options))


def test_the_case_worked_by_hand():
    """Z = Y = I with penalty 1: W = I / 2, and (3, 1) has the logits 3 and 1."""
    real = torch.tensor([[3.0, 1]]).double()
    options = ProbeOptions(ridge=1, temperature=0.5, unit_length=False)
    judged = ClosedFormProbe(real, torch.tensor([0]), 2, options).at(0)(torch.eye(2).double(), rows_of([0, 1]))
    assert judged.loss == pytest.approx(0.12692801104297263, abs=1e-15)
    assert judged.log["probe_accuracy"] == 1


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dim", [3, DIM, 23])  # fewer and more features than rows
def test_the_loss_is_that_of_plain_ridge_regression(kind: dict, dim: int):
    real, answers, synthetic, labels, rows = drawn(dim=dim)
    judged = probe(real, answers, ridge=0.3, temperature=0.7, **kind).at(0)(torch.from_numpy(synthetic), rows)
    fitted = synthetic / np.linalg.norm(synthetic, axis=1)[:, None] if kind["unit_length"] else synthetic
    fitted = fitted - fitted.mean(0) if kind["intercept"] else fitted
    penalty = 0.3 * np.sum(fitted**2) / IMAGES
    named = {"classes": CLASSES, "penalty": penalty, "temperature": 0.7}
    expected = probe_loss(synthetic, labels, real, answers, **named, **kind)
    assert judged.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_the_gradient_is_autograds(kind: dict, ridge: float):
    """Against autograd through torch's own solver, the penalty's dependence on the features included."""
    real, answers, synthetic, labels, rows = drawn(seed=3)
    features = torch.from_numpy(synthetic).requires_grad_()
    fitted, queries = features, torch.from_numpy(real)
    if kind["unit_length"]:
        fitted, queries = (each / each.norm(dim=1, keepdim=True) for each in (fitted, queries))
    targets, offset = torch.eye(CLASSES).double()[labels], torch.zeros(CLASSES).double()
    if kind["intercept"]:
        centre, offset = fitted.mean(0), targets.mean(0)
        fitted, queries, targets = fitted - centre, queries - centre, targets - offset
    penalty = ridge * fitted.square().sum() / IMAGES
    weights = fitted.T @ torch.linalg.solve(fitted @ fitted.T + penalty * torch.eye(len(fitted)).double(), targets)
    loss = torch.nn.functional.cross_entropy((queries @ weights + offset) / 0.2, torch.from_numpy(answers))
    loss.backward()

    judged = probe(real, answers, ridge=ridge, temperature=0.2, **kind).at(0)(features.detach(), rows)
    assert judged.loss == pytest.approx(float(loss.detach()), rel=1e-12)
    error = (judged.gradient - features.grad).norm() / features.grad.norm()
    assert float(error) < 1e-10


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_probe_is_an_objective(kind: dict):
    noise, answers = np.random.default_rng(0).normal(size=(61, 7)), np.arange(61) % CLASSES
    check_objective(lambda real: probe(noise + real.numpy()[answers], answers, batch=37, **kind))


@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS), scale=st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_all_features_decides_nothing(seed: int, kind: dict, scale: float):
    real, answers, synthetic, _, rows = drawn(seed)
    plain = probe(real, answers, **kind).at(0)(torch.from_numpy(synthetic), rows)
    scaled = probe(scale * real, answers, **kind).at(0)(torch.from_numpy(scale * synthetic), rows)
    assert scaled.loss == pytest.approx(plain.loss, rel=1e-9)
    torch.testing.assert_close(scale * scaled.gradient, plain.gradient, rtol=1e-7, atol=1e-9)


@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS))
@settings(max_examples=20, deadline=None)
def test_turning_all_features_turns_the_gradient(seed: int, kind: dict):
    real, answers, synthetic, _, rows = drawn(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(DIM, DIM)))[0]
    plain = probe(real, answers, **kind).at(0)(torch.from_numpy(synthetic), rows)
    turned = probe(real @ turn, answers, **kind).at(0)(torch.from_numpy(synthetic @ turn), rows)
    assert turned.loss == pytest.approx(plain.loss, rel=1e-10)
    torch.testing.assert_close(turned.gradient, plain.gradient @ torch.from_numpy(turn), rtol=1e-8, atol=1e-10)


@given(seed=st.integers(0, 1000), shift=st.floats(-9, 9))
@settings(max_examples=20, deadline=None)
def test_with_an_intercept_a_shift_of_all_features_changes_nothing(seed: int, shift: float):
    real, answers, synthetic, _, rows = drawn(seed)
    options = {"unit_length": False, "intercept": True}
    plain = probe(real, answers, **options).at(0)(torch.from_numpy(synthetic), rows)
    shifted = probe(real + shift, answers, **options).at(0)(torch.from_numpy(synthetic + shift), rows)
    assert shifted.loss == pytest.approx(plain.loss, rel=1e-9)
    torch.testing.assert_close(shifted.gradient, plain.gradient, rtol=1e-7, atol=1e-9)


@given(seed=st.integers(0, 1000), scales=st.lists(st.floats(0.1, 10), min_size=14, max_size=14))
@settings(max_examples=20, deadline=None)
def test_at_unit_length_the_length_of_a_feature_decides_nothing(seed: int, scales: list[float]):
    real, answers, synthetic, _, rows = drawn(seed)
    features, factors = torch.from_numpy(synthetic), torch.tensor(scales).double()[:, None]
    judge = probe(real, answers).at(0)
    plain, scaled = judge(features, rows), judge(features * factors, rows)
    assert scaled.loss == pytest.approx(plain.loss, rel=1e-10)
    torch.testing.assert_close(scaled.gradient * factors, plain.gradient, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close((plain.gradient * features).sum(1), torch.zeros(14).double(), rtol=0, atol=1e-12)


def test_each_step_has_a_batch_of_its_own_and_always_the_same():
    real, answers, synthetic, _, rows = drawn()
    some, whole = probe(real, answers, batch=13), probe(real, answers, batch=1000)
    losses = [some.at(step)(torch.from_numpy(synthetic), rows).loss for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    batches = [some._batch(step).tolist() for step in range(40)]
    assert {len(set(batch)) for batch in batches} == {13} and set().union(*batches) == set(range(61))
    assert sorted(whole._batch(3).tolist()) == list(range(61))


def test_steps_against_the_gradient_make_a_better_probe():
    random = np.random.default_rng(0)
    answers = np.arange(205) % CLASSES
    real = random.normal(size=(CLASSES, DIM))[answers] + random.normal(size=(205, DIM))
    features, rows = torch.from_numpy(random.normal(size=(CLASSES, DIM))), rows_of(range(CLASSES))
    judge = probe(real, answers, ridge=0.01, temperature=0.1).at(0)
    first = judge(features, rows)
    for _ in range(100):
        features = features - judge(features, rows).gradient
    last = judge(features, rows)
    assert last.loss < first.loss / 2 and last.log["probe_accuracy"] > first.log["probe_accuracy"] + 0.3


def test_a_feature_of_length_zero_stays_finite():
    real, answers, synthetic, _, rows = drawn()
    features = torch.from_numpy(synthetic)
    features[3] = 0
    assert torch.isfinite(probe(real, answers).at(0)(features, rows).gradient).all()


@pytest.mark.parametrize("intercept", [False, True])
def test_features_from_which_nothing_can_be_learnt_are_refused(intercept: bool):
    real, answers, synthetic, _, rows = drawn()
    equal = torch.full(synthetic.shape, 2.0 if intercept else 0.0, dtype=torch.float64)
    with pytest.raises(SettingsError, match="features that are all equal"):
        probe(real, answers, unit_length=False, intercept=intercept).at(0)(equal, rows)


def test_built_for_a_run_it_asks_every_cached_view():
    values, labels = torch.randn(23, 2, 5), torch.arange(23) % 3
    real = RealFeatures(Features(values, labels), 3)
    made = OBJECTIVES["clp"].build(real, ProbeOptions(temperature=0.3), ipc=5, seed=11)
    assert torch.equal(made.values, values.flatten(0, 1)) and torch.equal(made.labels[::2], labels)
    assert (made.classes, made.options.temperature, made.seed) == (3, 0.3, 11)
