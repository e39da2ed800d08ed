"""Network slimming: channels whose BatchNorm weight is small leave a trained network (scdd.md 10).

Liu et al., "Learning efficient convolutional networks through network slimming", ICCV 2017.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from attar.backbones.architectures import Classifier
from attar.backbones.cifar_resnet import Block, CifarResNet
from attar.errors import BackboneError, SettingsError

_IN_CONVNETS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)


@dataclass(frozen=True)
class _Layer:
    """A convolution and its BatchNorm, whose channels one other layer reads."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    reader: nn.Conv2d | nn.Linear

    def keep(self, channels: Bool[Tensor, " channels"]) -> None:
        """Drop all other channels."""
        self.conv.weight = _rows(self.conv.weight, channels)
        if self.conv.bias is not None:
            self.conv.bias = _rows(self.conv.bias, channels)
        self.conv.out_channels = self.norm.num_features = int(channels.sum())
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        self.norm.weight, self.norm.bias = _rows(self.norm.weight, channels), _rows(self.norm.bias, channels)
        self.norm.running_mean = self.norm.running_mean[channels]
        self.norm.running_var = self.norm.running_var[channels]
        read = channels
        if isinstance(self.reader, nn.Linear):  # of flattened maps, where all places of a channel lie together
            read = channels.repeat_interleave(self.reader.in_features // len(channels))
            self.reader.in_features = int(read.sum())
        else:
            self.reader.in_channels = int(read.sum())
        self.reader.weight = nn.Parameter(self.reader.weight.detach()[:, read], self.reader.weight.requires_grad)


def _rows(parameter: Tensor, kept: Bool[Tensor, " rows"]) -> nn.Parameter:
    return nn.Parameter(parameter.detach()[kept], parameter.requires_grad)


def pruned(network: Classifier, share: float) -> Classifier:
    """A copy of `network` without that share (0..1) of its channels whose |BatchNorm weight| is the smallest of all.

    Every layer keeps its largest channel. Of residual networks only the channels inside a block are looked at, because
    the others are summed with the shortcut's. Raises BackboneError for networks that are neither plain convnets nor
    CIFAR's residual ones, SettingsError for a share outside 0..1.
    """
    if not 0 <= share < 1:
        raise SettingsError(
            f"a share of {share:g} of the channels can't be pruned", "give a share from 0 to less than 1"
        )
    smaller = copy.deepcopy(network)
    layers = _layers(smaller)
    sizes = torch.cat([layer.norm.weight.detach().abs() for layer in layers])
    kept = torch.ones(len(sizes), dtype=torch.bool, device=sizes.device)
    kept[sizes.argsort(stable=True)[: round(share * len(sizes))]] = False
    for layer, channels in zip(layers, kept.split([layer.norm.num_features for layer in layers]), strict=True):
        channels[layer.norm.weight.abs().argmax()] = True
        layer.keep(channels)
    return smaller


def _layers(network: Classifier) -> list[_Layer]:
    body = network.body
    if isinstance(body, CifarResNet):
        return [_Layer(part.conv1, part.bn1, part.conv2) for part in body.modules() if isinstance(part, Block)]
    if isinstance(body, nn.Sequential) and all(isinstance(part, _IN_CONVNETS) for part in body):
        return list(_of_convnet([*body, network.head]))
    raise BackboneError("this network can't be pruned", "Convnets and CIFAR's residual networks with BatchNorm can.")


def _of_convnet(parts: list[nn.Module]) -> Iterator[_Layer]:
    read = [part for part in parts if isinstance(part, (nn.Conv2d, nn.Linear))]
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    for conv, norm, reader in zip(read[:-1], norms, read[1:], strict=True):
        assert isinstance(conv, nn.Conv2d)
        yield _Layer(conv, norm, reader)
