"""Networks to train from scratch: the published shapes, by the names that papers use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attar.backbones.architectures import default_stem, make_classifier
from attar.errors import BackboneError


def norm_inputs(network: nn.Module, side: int) -> list[int]:
    """How many values enter each BatchNorm layer for one image."""
    sizes: list[int] = []
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].numel()))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, side, side))
    return sizes


@pytest.mark.parametrize(
    ("side", "values"),
    [(32, 614_400), (64, 2_457_600), (224, 2_483_712)],
)
def test_resnet18_has_the_published_batch_norm_inputs(side: int, values: int):
    sizes = norm_inputs(make_classifier("resnet18", 7, side=side), side)
    assert (len(sizes), sum(sizes)) == (20, values)  # scdd.md 2 and 14


def test_the_small_stem_keeps_the_resolution():
    body = make_classifier("resnet18", 5, side=32).body
    assert body.conv1.kernel_size == (3, 3)
    assert body.conv1.stride == (1, 1)
    assert isinstance(body.maxpool, nn.Identity)
    assert default_stem("resnet18", 64) == "small"
    assert default_stem("resnet18", 65) == "native"
    assert default_stem("mobilenetv2_100", 32) == "native"


@pytest.mark.parametrize("name", ["resnet18d", "resnet26t", "resnet50s"])
def test_deep_stems_stay_as_they_are(name: str):
    assert default_stem(name, 32) == "native"
    with pytest.raises(BackboneError, match="no small stem"):
        make_classifier(name, 3, side=32, stem="small")


@pytest.mark.parametrize(
    ("name", "side", "dim"),
    [("convnet3", 32, 2048), ("convnet6", 224, 1152), ("convnet4", 64, 2048), ("cifar_resnet20", 32, 64)],
)
def test_features_have_the_published_number(name: str, side: int, dim: int):
    network = make_classifier(name, 7, side=side)
    assert network.head.in_features == dim
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 7)


def test_resnetap10_has_ten_layers_with_weights_in_line_and_no_stride():
    network = make_classifier("resnetap10", 7, side=64)
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert {part.stride for part in convolutions} == {(1, 1)}
    in_line = [part for part in convolutions if part.kernel_size != (1, 1)]
    assert len(in_line) + 1 == 10
    assert all(part.bias is None for part in convolutions)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("name", ["convnet3", "resnetap10", "resnet18"])
def test_instance_norm_leaves_no_batch_norm(name: str):
    network = make_classifier(name, 7, side=32, norm="instance")
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    groups = [part for part in network.modules() if isinstance(part, nn.GroupNorm)]
    assert groups
    assert all(part.num_groups == part.num_channels for part in groups)


def test_weights_are_drawn_by_the_seed_alone():
    torch.manual_seed(1)
    first = make_classifier("convnet3", 3, side=8, seed=5)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))
    second, other = (make_classifier("convnet3", 3, side=8, seed=seed) for seed in (5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("resnet81", {}, "resnet18"),
        ("convnet3", {"stem": "small"}, "small stem"),
        ("convnet6", {"side": 32}, "too small"),
        ("cifar_resnet20", {"norm": "instance"}, "instance norm"),
        ("vit_tiny_patch16_224", {"side": 33}, "33 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(name: str, options: dict, word: str):
    with pytest.raises(BackboneError, match=word):
        make_classifier(name, 3, **{"side": 32, **options})
