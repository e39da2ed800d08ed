from dataclasses import replace

import pytest
import torch
from torch import nn

from attar.backbones.record import freeze
from attar.errors import SettingsError
from attar.synthesis.canvas import Pyramid
from attar.synthesis.draws import Stream
from attar.synthesis.matching import Matching, Schedule, Term, _Repeat
from attar.synthesis.objectives import Rows, StatisticalFlowMatching
from attar.synthesis.views import ViewPolicy, cut_views, draw_windows

CLASSES, IPC, VIEWS = 3, 2, 3
POLICY = ViewPolicy(canvas=17, crop=13, noise=0.5)


def network(dtype: torch.dtype, dim: int = 7):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 5, 3, stride=2), nn.Tanh(), nn.Conv2d(5, dim, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    return freeze(module.to(dtype), "small", image_size=13, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def matching(chunk: int | None, dtype: torch.dtype = torch.float64, *, steps: int = 9, **schedule) -> Matching:
    torch.manual_seed(1)
    backbone = network(dtype)
    objective = StatisticalFlowMatching(torch.randn(CLASSES, 7).double(), w_mean=0.1, w_scale=0.05)
    canvas = Pyramid(CLASSES * IPC, 17, seed=0, grow_every=2, start=8, dtype=dtype)
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    plan = Schedule(steps, lr=1e-2, **schedule)
    return Matching(canvas, labels, [Term(backbone, objective)], POLICY, plan, views=VIEWS, seed=0, chunk=chunk)


def gradients(chunk: int | None, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    loop = matching(chunk, dtype)
    loop.gradient(4)
    return {name: value.grad for name, value in loop.canvas.parameters().items()}


@pytest.mark.parametrize("chunk", [1, 5, 7, CLASSES * IPC * VIEWS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_any_chunk_size_gives_the_same_gradient(chunk: int, dtype: torch.dtype, tolerance: float):
    whole, parts = gradients(None, dtype), gradients(chunk, dtype)
    assert len(whole) == 4
    for name, expected in whole.items():
        assert float((parts[name] - expected).norm() / expected.norm()) < tolerance


def test_the_gradient_is_plain_autograds():
    """One graph over everything, the loss written with torch, no closed form and no chunks."""
    loop = matching(None)
    rows = loop.rows
    windows = draw_windows(POLICY, 0, Stream.SYNTHESIS, 4, rows.image.tolist(), rows.view.tolist())
    term = loop.terms[0]
    features = term.backbone(cut_views(loop.canvas.images(torch.arange(6))[rows.image], windows, POLICY))
    real = term.objective.real
    means = torch.stack([features[rows.label == label].mean(0) for label in range(CLASSES)])
    a, a_real = means - means.mean(0), real - real.mean(0)
    loss = 1 - (a * a_real).sum() / a.norm() / a_real.norm()
    loss = loss + 0.1 * CLASSES * (means.mean(0) - real.mean(0)).square().sum() / a_real.norm() ** 2
    loss = loss + 0.05 * (a.norm() / a_real.norm()).log().square()
    loss.backward()
    expected = {name: value.grad.clone() for name, value in loop.canvas.parameters().items()}
    log = loop.gradient(4)
    assert log["loss"] == pytest.approx(float(loss.detach()), rel=1e-12)
    for name, value in loop.canvas.parameters().items():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-10, atol=1e-16)


def test_the_backbone_stays_as_it_is():
    loop = matching(5)
    before = {name: value.clone() for name, value in loop.terms[0].backbone.module.state_dict().items()}
    loop.step(0)
    for name, value in loop.terms[0].backbone.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in loop.terms[0].backbone.module.parameters())


@pytest.mark.parametrize("restart", [False, True])
def test_a_resumed_run_is_the_same_run(restart: bool):
    whole, first, second = (matching(5, restart=restart, tail=0.5) for _ in range(3))
    for step in range(9):
        whole.step(step)
    for step in range(4):
        first.step(step)
    second.load_state_dict(first.state_dict())
    for step in range(4, 9):
        second.step(step)
    ids = torch.arange(6)
    assert torch.equal(whole.canvas.images(ids), second.canvas.images(ids))


def test_adam_keeps_or_forgets_when_a_level_is_added():
    for restart, steps in ((False, 4), (True, 1)):
        loop = matching(None, restart=restart)
        for step in range(4):  # the level of side 16 comes before step 3
            loop.step(step)
        moments = loop._adam.state[loop.canvas.parameters()["level_001"]]
        assert float(moments["step"]) == steps


def test_the_loss_falls():
    loop = matching(None, steps=60)
    losses = [loop.step(step)["loss"] for step in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_rate_falls_along_a_cosine_at_the_end():
    plan = Schedule(steps=100, lr=2.0, tail=0.2)
    assert [plan.rate(step) for step in (0, 80)] == [2.0, 2.0]
    assert plan.rate(90) == pytest.approx(1.0)
    assert 0 < plan.rate(99) < 0.02
    assert Schedule(100, 2.0).rate(99) == 2.0


def test_terms_add_up():
    one, both = matching(None), matching(None)
    term = both.terms[0]
    both.terms = (Term(term.backbone, term.objective, 0.25), Term(term.backbone, term.objective, 0.75))
    one.gradient(4)
    both.gradient(4)
    for name, value in one.canvas.parameters().items():
        torch.testing.assert_close(both.canvas.parameters()[name].grad, value.grad, rtol=1e-12, atol=1e-16)


def test_a_feature_that_is_not_finite_stops_the_step():
    loop = matching(None)
    loop.terms[0].backbone.module[0].weight.data.fill_(float("nan"))
    before = loop.canvas.images(torch.arange(6)).detach().clone()
    with pytest.raises(SettingsError, match="not finite at step 0"):
        loop.step(0)
    assert torch.equal(loop.canvas.images(torch.arange(6)), before)


def test_rows_are_image_by_image():
    rows = matching(None).rows
    assert isinstance(rows, Rows)
    assert rows.image.tolist()[:4] == [0, 0, 0, 1]
    assert rows.view.tolist()[:4] == [0, 1, 2, 0]
    assert rows.label.tolist() == [image // IPC for image in rows.image.tolist()]


def test_copies_of_an_image_add_their_gradients_in_order():
    images = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    place, weights = torch.tensor([0, 0, 1, 0]), torch.tensor([[1.0], [2.0], [4.0], [8.0]]).double()
    (_Repeat.apply(images, place) * weights).sum().backward()
    assert images.grad.tolist() == [[11.0] * 3, [4.0] * 3]


def two_terms(chunk: int | None) -> Matching:
    loop = matching(chunk)
    other = network(torch.float64, dim=11)
    torch.manual_seed(2)
    far = StatisticalFlowMatching(torch.randn(CLASSES, 11).double(), w_mean=0.1)
    loop.terms = (Term(loop.terms[0].backbone, loop.terms[0].objective, 0.3), Term(other, far, 0.7))
    return loop


@pytest.mark.parametrize("chunk", [None, 5])
def test_several_backbones_give_the_weighted_sum_of_their_gradients(chunk: int | None):
    loop = two_terms(chunk)
    log = loop.gradient(4)
    found = {name: value.grad.clone() for name, value in loop.canvas.parameters().items()}
    loss, expected = 0.0, {name: torch.zeros_like(value) for name, value in found.items()}
    for term in loop.terms:
        single = matching(chunk)
        single.terms = (term,)
        loss += single.gradient(4)["loss"]
        for name, value in single.canvas.parameters().items():
            expected[name] += value.grad
    assert log["loss"] == pytest.approx(loss, rel=1e-12)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-16)


class Visitor(nn.Module):
    """Lives on a device of its own, as far as anybody can see from outside."""

    def __init__(self, module: nn.Module, diary: list):
        super().__init__()
        self.module, self.diary = module, diary

    def to(self, place):
        self.diary.append(str(place))
        return self

    def forward(self, images):
        self.diary.append("forward")
        return self.module(images)


def test_a_backbone_that_lives_elsewhere_comes_for_its_turn_and_goes_home(monkeypatch):
    loop, diary = matching(None), []
    backbone = replace(loop.terms[0].backbone, module=Visitor(loop.terms[0].backbone.module, diary))
    loop.terms = (replace(loop.terms[0], backbone=backbone),)
    monkeypatch.setattr(type(backbone), "device", property(lambda self: "home"))
    loop.gradient(0)
    assert diary == ["cpu", "forward", "home"]


class Narrow(nn.Module):
    """Runs out of memory with more than `most` views at a time."""

    def __init__(self, module: nn.Module, most: int):
        super().__init__()
        self.module, self.most = module, most

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.module(images)


def narrow(most: int) -> Matching:
    loop = matching(None, torch.float64, steps=9)
    backbone = loop.terms[0].backbone
    loop.terms = (replace(loop.terms[0], backbone=replace(backbone, module=Narrow(backbone.module, most))),)
    return loop


def test_a_chunk_that_does_not_fit_is_halved_and_the_step_is_the_same():
    whole, halved = matching(None), narrow(5)
    for step in range(4):
        expected, found = whole.step(step), halved.step(step)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-10)
    assert halved.chunk == 5  # of 18: 9, then 5
    for name, value in whole.canvas.parameters().items():
        torch.testing.assert_close(halved.canvas.parameters()[name], value, rtol=1e-8, atol=1e-12)


class NoRoomForGraphs(Narrow):
    """Has room for `most` views at a time only where a gradient is to be found."""

    def forward(self, images):
        if len(images) > self.most and torch.is_grad_enabled():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")
        return self.module(images)


def test_memory_that_runs_out_in_the_second_pass_halves_the_chunk_and_the_step_is_the_same():
    whole, halved = matching(None), matching(7)
    backbone = halved.terms[0].backbone
    halved.terms = (replace(halved.terms[0], backbone=replace(backbone, module=NoRoomForGraphs(backbone.module, 3))),)
    for step in range(4):
        expected, found = whole.step(step), halved.step(step)
        assert found["gradient"] == pytest.approx(expected["gradient"], rel=1e-10)
    assert halved.chunk == 2  # of 7: 4, then 2
    for name, value in whole.canvas.parameters().items():
        torch.testing.assert_close(halved.canvas.parameters()[name], value, rtol=1e-8, atol=1e-12)


def test_a_single_view_that_does_not_fit_is_one_sentence():
    with pytest.raises(SettingsError, match="One view of 13 pixels doesn't fit"):
        narrow(0).step(0)


def test_other_failures_are_not_taken_for_a_lack_of_memory(monkeypatch):
    loop = matching(None)
    monkeypatch.setattr(loop, "gradient", lambda step: (_ for _ in ()).throw(RuntimeError("shapes don't fit")))
    with pytest.raises(RuntimeError, match="shapes"):
        loop.step(0)
