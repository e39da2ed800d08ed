"""The rival's loop is what it says it is: its parts against ours, which share nothing with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from attar.synthesis.canvas import Pyramid, pyramid_sides
from attar.synthesis.objectives.lgm import Head, head_gradient, match_gradients
from small import small_backbone


@pytest.fixture
def rival(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import authors_lgm

    yield authors_lgm
    sys.modules.pop("authors_lgm")


def make_loop(rival, **options):
    real = TensorDataset(torch.rand(31, 3, 9, 9), torch.arange(31) % 3)
    return rival.AuthorsLoop(small_backbone(), real, 3, side=9, ipc=2, copies=5, **options)


def test_double_backward_gives_the_gradient_of_the_closed_form(rival):
    random = torch.Generator().manual_seed(0)
    real, features, weight = (torch.randn(n, 5, generator=random).double() for n in (11, 7, 3))
    real_labels, labels = torch.arange(11) % 3, torch.arange(7) % 3
    features.requires_grad_()
    head = (weight.clone().requires_grad_(), torch.zeros(3, dtype=torch.float64, requires_grad=True))

    wanted = [part.detach() for part in rival.head_gradient(real, real_labels, head, create_graph=False)]
    loss = rival.distance(wanted, rival.head_gradient(features, labels, head, create_graph=True))
    loss.backward()

    ours = Head(weight, torch.zeros(3, dtype=torch.float64))
    towards = head_gradient(real, real_labels, ours, torch.full((11,), 1 / 11, dtype=torch.float64))
    expected, gradient = match_gradients(features.detach(), labels, ours, towards)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(features.grad, gradient, rtol=1e-10, atol=1e-14)


def test_images_are_those_of_our_pyramid_with_the_same_levels(rival):
    loop = make_loop(rival, start=9)
    canvas = Pyramid(6, 9, seed=0, start=9)
    names = canvas.parameters().keys()
    canvas.load_state_dict(dict(zip(names, loop.levels, strict=True)))
    assert rival.pyramid_sides(9) == pyramid_sides(9)
    torch.testing.assert_close(loop.images(), canvas.images(torch.arange(6)))


def test_a_whole_window_is_a_bilinear_resize_and_a_larger_one_has_a_black_border(rival):
    images = torch.rand(2, 3, 11, 11)
    none, whole = torch.zeros(2), torch.ones(2)
    expected = F.interpolate(images, (7, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(rival.crop(images, none, none, whole, whole, 7), expected)
    wide = rival.crop(images, -whole / 2, none, 2 * whole, whole, 8)
    assert (wide[..., :2] == 0).all() and (wide[..., 2:6] > 0).all() and (wide[..., 6:] == 0).all()


def test_levels_shrink_and_a_new_one_with_a_new_adam_joins_at_the_authors_steps(rival):
    loop = make_loop(rival, grow_every=2, lr=0.0)
    grown = {}
    for number in range(12):
        before, adam = [level.detach().clone() for level in loop.levels], loop.adam
        loop.step(number)
        if len(loop.levels) > len(before):
            grown[number] = loop.levels[-1].shape[-1]
            share = len(before) / len(loop.levels)
            for old, new in zip(before, loop.levels, strict=False):
                torch.testing.assert_close(new.detach(), share * old)
            assert loop.adam is not adam and len(loop.adam.state) == len(loop.levels)
    assert grown == {3: 2, 5: 4, 7: 8, 9: 9}


def test_weights_collect_gradients_and_the_backbone_given_stays_frozen(rival):
    loop = make_loop(rival)
    loop.step(0)
    once = [parameter.grad.clone() for parameter in loop.network.parameters()]
    loop.step(1)
    assert all(
        (parameter.grad != first).any() for parameter, first in zip(loop.network.parameters(), once, strict=True)
    )
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in loop.backbone.module.parameters()
    )


def test_a_step_wants_as_many_real_images_as_synthetic_views(rival):
    real = TensorDataset(torch.rand(29, 3, 9, 9), torch.arange(29) % 3)
    assert len(make_loop(rival).real_batch()[0]) == 30
    with pytest.raises(SystemExit, match=r"30 real images .* only 29"):
        rival.AuthorsLoop(small_backbone(), real, 3, side=9, ipc=2, copies=5)
