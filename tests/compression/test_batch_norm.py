"""BatchNorm statistics: how far inputs are from them, the gradient of that, and layers that can't be matched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attar.compression.batch_norm import batch_statistics, mismatch, norm_layers
from attar.compression.matching import MatchedNetwork, _Mismatch
from attar.errors import BackboneError
from frozen import body
from oracles import batch_norm as oracle


def statistics(channels: int, seed: int, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    mean = torch.randn(channels, generator=random, dtype=dtype)
    return mean, torch.rand(channels, generator=random, dtype=dtype) + 0.3


def measured(inputs: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, scale: float = 1.0):
    """R and the gradient of scale · R, by the engine."""
    entering = inputs.clone().requires_grad_()
    _, found = _Mismatch.apply(entering, mean, var)
    (scale * found).backward()
    return found.detach(), entering.grad


def test_the_case_worked_by_hand():
    inputs = torch.arange(16, dtype=torch.float64).view(2, 2, 2, 2)
    mean, var = batch_statistics(inputs)
    assert mean.tolist() == [5.5, 9.5] and var.tolist() == pytest.approx([17.25, 17.25], rel=1e-15)
    zeros, ones = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert float(mismatch(mean, var, zeros, ones)) == pytest.approx(33.95821958861287, rel=1e-14)
    assert float(measured(inputs, zeros, ones)[0]) == pytest.approx(33.95821958861287, rel=1e-14)


@pytest.mark.parametrize("shape", [(7, 5, 3, 2), (1, 3, 5, 7), (11, 3), (2, 3, 13)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_the_mismatch_is_that_of_numpy(shape, dtype, tolerance: float):
    mean, var = statistics(shape[1], 1)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3 + 5
    expected = oracle.mismatch(inputs.numpy(), mean.numpy(), var.numpy())
    found, _ = measured(inputs.to(dtype), mean.to(dtype), var.to(dtype))
    assert float(found) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("shape", [(7, 5, 3, 2), (5, 3)])
def test_the_gradient_is_autograds_and_that_of_finite_differences(shape):
    mean, var = statistics(shape[1], 3)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    _, gradient = measured(inputs, mean, var, scale=0.7)
    plain = inputs.clone().requires_grad_()
    (0.7 * mismatch(*batch_statistics(plain), mean, var)).backward()
    torch.testing.assert_close(gradient, plain.grad, rtol=0, atol=1e-15)
    differences = 0.7 * oracle.mismatch_gradient(inputs.numpy(), mean.numpy(), var.numpy())
    np.testing.assert_allclose(gradient.numpy(), differences, rtol=0, atol=1e-8)


def test_what_comes_from_above_is_passed_on():
    mean, var = statistics(3, 5)
    inputs = torch.randn(5, 3, 2, 7, dtype=torch.float64, requires_grad=True)
    above = torch.randn(5, 3, 2, 7, dtype=torch.float64)
    passed, found = _Mismatch.apply(inputs, mean, var)
    assert torch.equal(passed, inputs)
    ((passed * above).sum() + 2 * found).backward()
    torch.testing.assert_close(inputs.grad, above + measured(inputs.detach(), mean, var, 2.0)[1], rtol=0, atol=1e-15)


def test_equal_statistics_have_no_mismatch_and_no_gradient():
    inputs = torch.tensor([-3.0, -1.0, 1.0, 3.0], dtype=torch.float64).view(1, 1, 2, 2)
    found, gradient = measured(inputs, torch.zeros(1).double(), torch.tensor([5.0]).double())
    assert float(found) == 0 and torch.equal(gradient, torch.zeros_like(inputs))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 7), side=st.integers(2, 5))
def test_the_order_of_images_and_pixels_does_not_matter(seed: int, images: int, side: int):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, side, side, generator=random, dtype=torch.float64)
    mean, var = statistics(3, seed % 1000)
    pixels = inputs.transpose(0, 1).flatten(1)
    moved = pixels[:, torch.randperm(pixels.shape[1], generator=random)].view(3, images, side, side).transpose(0, 1)
    assert float(measured(inputs, mean, var)[0]) == pytest.approx(float(measured(moved, mean, var)[0]), rel=1e-13)


def test_statistics_of_half_precision_are_taken_in_single():
    mean, var = statistics(3, 6, torch.float32)
    inputs = (torch.randn(5, 3, 11, 11) + 60).bfloat16()  # a mean that bfloat16 rounds by a quarter
    found, gradient = measured(inputs, mean, var)
    expected = oracle.mismatch(inputs.double().numpy(), mean.double().numpy(), var.double().numpy())
    assert found.dtype == torch.float32 and float(found) == pytest.approx(expected, rel=1e-5)
    assert gradient.dtype == torch.bfloat16


def frozen_body() -> nn.Sequential:
    return body().eval().requires_grad_(False)


def test_a_network_tells_of_all_layers_in_their_order_and_leaves_no_hooks():
    network = frozen_body()
    assert [layer.name for layer in norm_layers(network)] == ["1", "5"]
    images = torch.randn(3, 3, 8, 8)
    with MatchedNetwork(network) as matched:
        passed = matched(images)
    expected, between = [], images
    for part in network:
        if isinstance(part, nn.BatchNorm2d):
            values = between.double().numpy()
            expected.append(oracle.mismatch(values, part.running_mean.numpy(), part.running_var.numpy()))
        between = part(between)
    assert passed.mismatches.tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(passed.logits, between) and matched.places == {"1": 64, "5": 16}
    assert not any(part._forward_pre_hooks for part in network.modules())


def untracked(network):
    network[5] = nn.BatchNorm2d(7, track_running_stats=False).eval()


def untrained(network):
    network[5] = nn.BatchNorm2d(7).eval()


def training(network):
    network[5].train()


def negative(network):
    network[5].running_var[3] = -1.0


def infinite(network):
    network[1].running_mean[2] = torch.inf


def without(network):
    network[1], network[5] = nn.Identity(), nn.GroupNorm(7, 7)


SPOILT = {
    untracked: "layer 5 keeps no running statistics",
    untrained: "layer 5 was never trained",
    training: "layer 5 is in training mode",
    negative: "hannel 3 of BatchNorm layer 5 has mean .* and variance -1",
    infinite: "hannel 2 of BatchNorm layer 1 has mean inf",
    without: "needs BatchNorm statistics",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_layers_that_cannot_be_matched_are_refused(spoil):
    network = frozen_body()
    spoil(network)
    with pytest.raises(BackboneError, match=SPOILT[spoil]):
        norm_layers(network)
