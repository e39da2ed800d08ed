"""The prediction of a step's memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attar.backbones.record import freeze
from attar.errors import SettingsError
from attar.synthesis.memory import ActivationModel, fit_backbone, measure_activations, peak_bytes
from attar.synthesis.views import ViewPolicy
from small import small_backbone

POLICY = ViewPolicy(canvas=16, crop=13)
CPU = torch.device("cpu")
KB = 256  # float32 values


def test_the_peak_is_what_lives_at_the_same_time():
    def work():
        first = torch.zeros(8 * KB)
        second = first + 1  # 16 KB
        del first
        third = second + 1  # 16 KB again
        del second, third
        torch.zeros(11 * KB)  # 11 KB

    assert peak_bytes(work, [], CPU) == 16 * 1024


def test_views_of_a_tensor_and_what_is_known_cost_nothing():
    known = torch.zeros(100 * KB)

    def work():
        known.view(10, -1).t()
        known.mul_(2)
        torch.zeros(3 * KB).view(3, -1)

    assert peak_bytes(work, [known], CPU) == 3 * 1024


def test_what_backward_needs_lives_until_backward():
    x = torch.zeros(KB, requires_grad=True)

    def work():
        (x.exp().exp().exp()).sum().backward()

    # three results, the sum, and in backward a gradient or two beside them
    assert 3 * 1024 < peak_bytes(work, [x], CPU) <= 6 * 1024 + 64


@pytest.mark.parametrize("views", [3, 7])
def test_the_line_through_one_and_two_views_holds_for_more(views: int):
    from attar.synthesis import memory

    backbone = small_backbone()
    model = measure_activations(backbone, POLICY)
    assert model.each > 4 * 3 * (16**2 + 13**2)  # at least the decoded image and the view

    grown = memory.make_canvas("pyramid", views, 16, grow_every=1, seed=0)
    for step in range(2, 20):
        grown.grow(step)
    for parameter in grown.parameters().values():
        parameter.grad = torch.zeros_like(parameter)
    windows = memory.draw_windows(POLICY, 0, memory.Stream.SYNTHESIS, 0, range(views), [0] * views)

    def step_back():
        decoded = grown.images(torch.arange(views))
        backbone(memory.cut_views(decoded, windows, POLICY)).sum().backward()

    known = [*backbone.module.state_dict().values(), *grown.parameters().values()]
    known += [parameter.grad for parameter in grown.parameters().values()]
    step_back()
    # A single image isn't copied where several are, so that the line rises a little too fast.
    assert 0.7 * model.peak(views) < memory._HEAP * peak_bytes(step_back, known, CPU) <= model.peak(views)


def test_the_budget_bounds_the_views():
    model = ActivationModel(fixed=100, each=30)
    assert [model.most_views(budget) for budget in (99, 129, 130, 189, 190)] == [0, 0, 1, 2, 3]
    assert model.peak(model.most_views(1000)) <= 1000


def deep(width: int = 64, depth: int = 12):
    """A transformer of timm, whose blocks can be recomputed."""
    import attar

    return attar.backbone(
        "timm:vit_tiny_patch16_224",
        weights="random",
        image_size=32,
        model_args={"img_size": 32, "embed_dim": width, "depth": depth, "num_heads": 2},
    )


def test_blocks_are_recomputed_only_where_one_view_does_not_fit():
    policy = ViewPolicy(canvas=32, crop=32)
    backbone = deep()
    model = measure_activations(backbone, policy)
    assert fit_backbone(backbone, policy, model.peak(1))[0] is backbone
    lighter, small = fit_backbone(backbone, policy, model.peak(1) - 1)
    assert lighter is not backbone
    assert small.peak(1) < 0.7 * model.peak(1)
    view = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(lighter(view), backbone(view))
    with pytest.raises(SettingsError, match="One view through timm:vit_tiny_patch16_224 takes"):
        fit_backbone(backbone, policy, 1000)


def test_a_module_without_blocks_says_what_it_takes():
    plain = freeze(nn.Flatten(), "plain", image_size=13, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(SettingsError, match="One view through plain takes"):
        fit_backbone(plain, POLICY, 1)
