"""Backbones that attar knows by name: numbers and where they come from, no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """What a network is and expects. Its weights are a file that the user passes."""

    name: str
    loader: str
    """Loader and what it loads, such as `py:package.module:function`."""
    image_size: int
    """Side in pixels."""
    dim: int
    """Number of features."""
    mean: tuple[float, float, float]
    """Of RGB in 0..1."""
    std: tuple[float, float, float]
    feature: Literal["pooled", "projected"]
    licence: str
    """Of the weights named in `source`."""
    source: str
    """Where weights and numbers come from."""


_CIFAR_SOURCE = "https://github.com/akamaster/pytorch_resnet_cifar10"

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            name="cifar_resnet20",
            loader="py:attar.backbones.cifar_resnet:resnet20",
            image_size=32,
            dim=64,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            feature="pooled",
            licence="BSD-2-Clause",
            source=_CIFAR_SOURCE,
        ),
        Entry(
            name="cifar_resnet56",
            loader="py:attar.backbones.cifar_resnet:resnet56",
            image_size=32,
            dim=64,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            feature="pooled",
            licence="BSD-2-Clause",
            source=_CIFAR_SOURCE,
        ),
        Entry(
            name="taef2_encoder",
            loader="py:attar.backbones.taef2:pooled_encoder",
            image_size=224,
            dim=32,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            feature="pooled",
            licence="MIT",
            source="https://github.com/madebyollin/taesd",
        ),
    )
}
