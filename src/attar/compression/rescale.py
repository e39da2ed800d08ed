"""A network with the scales of another: the control for claims about BatchNorm statistics (scdd.md 9)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from attar.backbones.architectures import Classifier
from attar.backbones.squeezed import Squeezed
from attar.compression.batch_norm import BatchNorm, norm_layers
from attar.errors import BackboneError

_TOLERANCE = 1e-3  # of the largest logit; fp32 rounding through a hundred layers stays below


def rescaled_like(network: Squeezed, other: Squeezed) -> Squeezed:
    """`network`, the same function of images, with the mean running variance of each of `other`'s BatchNorm layers.

    The convolution before a layer is multiplied by a, the layer's mean by a and its variance by a^2; its weight makes
    up for epsilon, which stays. A layer without any variance, here or there, is left as it is. Raises BackboneError
    where the architectures differ, or where a BatchNorm layer doesn't follow a convolution of its own.
    """
    check_alike(network, other)
    copied = network.to()
    feeding = _feeding(copied.network)
    for layer, wanted in zip(norm_layers(copied.network), norm_layers(other.network), strict=True):
        if float(layer.var.sum()) and float(wanted.var.sum()):
            _scale(feeding[layer.name], layer.module, math.sqrt(float(wanted.var.sum() / layer.var.sum())))
    _check_same_function(network, copied)
    settings = {**network.record.settings, "rescaled_like": other.fingerprint}
    record = network.record.model_copy(update={"settings": settings})
    return replace(copied, name=f"{network.name} rescaled", record=record)


def check_alike(first: Squeezed, second: Squeezed) -> None:
    """Raises BackboneError where the two networks differ in more than their weights."""
    one, other = (
        f"{record.architecture} (stem {record.stem}) for {record.side} pixels"
        for record in (first.record, second.record)
    )
    if one != other:
        message = f"BatchNorm layers are compared one by one, and {one} has others than {other}"
        raise BackboneError(message, "Squeeze both with the same --arch, from images of the same side.")


def _feeding(network: Classifier) -> dict[str, nn.Conv2d | nn.Linear]:
    """By the name of each BatchNorm layer, the convolution or linear layer registered before it."""
    found: dict[str, nn.Conv2d | nn.Linear] = {}
    before: nn.Conv2d | nn.Linear | None = None
    for name, part in network.named_modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            before = part
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            if before is None or before.weight.shape[0] != part.num_features:
                raise _unknown_order(f"no convolution stands before BatchNorm layer {name}")
            found[name], before = before, None
    return found


@torch.no_grad()
def _scale(conv: nn.Conv2d | nn.Linear, norm: BatchNorm, factor: float) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight.mul_(factor)
    if conv.bias is not None:
        conv.bias.mul_(factor)
    deviation = (norm.running_var + norm.eps).sqrt()
    norm.running_mean.mul_(factor)
    norm.running_var.mul_(factor**2)
    norm.weight.mul_((norm.running_var + norm.eps).sqrt() / (factor * deviation))


@torch.no_grad()
def _check_same_function(network: Squeezed, rescaled: Squeezed) -> None:
    side = network.record.side
    noise = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(network.network.head.weight)
    before, after = network.logits(noise), rescaled.logits(noise)
    if float((before - after).abs().max()) > _TOLERANCE * float(before.abs().max()):
        raise _unknown_order("rescaling changes what it computes")


def _unknown_order(why: str) -> BackboneError:
    return BackboneError(f"this network can't be rescaled: {why}", "Convnets and residual networks can.")
