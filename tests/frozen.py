"""Tiny squeezed networks that tests recover from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from attar.backbones.architectures import Classifier
from attar.backbones.squeezed import Squeezed
from small import CLASSES, squeeze_record


def body(seed: int = 0, norms: int = 2) -> nn.Sequential:
    """Convolutions with 5 and 7 filters, BatchNorm behind each, pooled to 2 x 2 places and then to none."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Softplus()]
        layers += [nn.AvgPool2d(2), nn.Conv2d(5, 7, 3, padding=1), nn.BatchNorm2d(7), nn.Softplus()]
        network = nn.Sequential(*layers[: 3 if norms == 1 else 7], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        with torch.no_grad():
            for _ in range(3):
                network(torch.randn(29, 3, 8, 8))
        return network


def squeezed(seed: int = 0, *, classes: tuple[str, ...] = CLASSES, norms: int = 2, **about: Any) -> Squeezed:
    """A network for images of 8 pixels with statistics of noise and a random head, frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Classifier(body(seed, norms), 5 if norms == 1 else 7, len(classes))
    usual = {"mean": (0.5, 0.4, 0.3), "std": (0.3, 0.25, 0.2), "ssl": "simclr", "held_out_accuracy": 90.0}
    record = squeeze_record(classes, **(usual | about))
    return Squeezed("tiny", network.eval().requires_grad_(False), record, frozenset())
