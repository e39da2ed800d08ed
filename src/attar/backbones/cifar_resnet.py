"""Residual networks for 32-pixel images (He et al. 2015, arXiv:1512.03385, section 4.2), 6n + 2 layers deep.

Shortcuts have no parameters: where the shape changes they take every second pixel and pad channels with zeros. The
names of the weights are those of https://github.com/akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@final
class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, entering: int, leaving: int):
        super().__init__()
        self.stride = leaving // entering
        self.padding = (leaving - entering) // 2
        self.conv1 = nn.Conv2d(entering, leaving, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)

    def forward(self, x: Float[Tensor, "n entering h w"]) -> Float[Tensor, "n leaving half_h half_w"]:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(y + shortcut)


@final
class CifarResNet(nn.Module):
    """Three stages of `blocks` blocks, 16, 32 and 64 channels wide; 64 features, or `num_classes` logits."""

    def __init__(self, blocks: int, num_classes: int = 0):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, num_classes) if num_classes else nn.Identity()

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n out"]:
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _stage(entering: int, leaving: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Block(entering, leaving), *(Block(leaving, leaving) for _ in range(blocks - 1)))


def resnet20(num_classes: int = 0) -> CifarResNet:
    """20 layers, 0.27 million parameters; without `num_classes` it returns 64 features."""
    return CifarResNet(3, num_classes)


def resnet56(num_classes: int = 0) -> CifarResNet:
    """56 layers, 0.86 million parameters; without `num_classes` it returns 64 features."""
    return CifarResNet(9, num_classes)
