"""The BatchNorm term of SC-DD's loss where recovery begins: on images of noise (scdd.md 9, item 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from attar.backbones.squeezed import Squeezed
from attar.compression.batch_norm import NormLayer, batch_statistics, mismatch, norm_layers
from attar.synthesis.draws import Stream, generator

_SEEDS = 8
_IMAGES = 16


@dataclass(frozen=True)
class Gaps:
    """Squared distances between a layer's statistics and those of noise: R is the sum of the roots of their sums."""

    mean: Float[np.ndarray, "seeds channels"]
    var: Float[np.ndarray, "seeds channels"]


@dataclass(frozen=True)
class FirstLoss:
    """What 16 images from N(0, 1), in normalised space, give for each seed."""

    layers: tuple[Gaps, ...]
    gradients: Float[np.ndarray, " seeds"]
    """|dR/dx| of R summed over the layers, all of weight 1."""


def first_loss(network: Squeezed) -> FirstLoss:
    """R of every BatchNorm layer and its gradient at iteration 0, for 8 seeds."""
    layers = norm_layers(network.network)
    gaps, gradients = zip(*(_measure(network, layers, seed) for seed in range(_SEEDS)), strict=True)
    stacked = (Gaps(*(np.stack(values) for values in zip(*rows, strict=True))) for rows in zip(*gaps, strict=True))
    return FirstLoss(tuple(stacked), np.array(gradients))


def norm_inputs(
    network: nn.Module, layers: list[NormLayer], images: Float[Tensor, "n 3 h w"]
) -> list[Float[Tensor, "n channels *places"]]:
    """What enters each of `layers` when `network` sees normalised images."""
    entered: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entered[layer] = inputs[0]

    hooks = [layer.module.register_forward_pre_hook(keep) for layer in layers]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [entered[layer.module] for layer in layers]


def _measure(
    network: Squeezed, layers: list[NormLayer], seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], float]:
    """(squared gaps of mean and variance of each layer, length of R's gradient)."""
    images = _noise(network, seed).requires_grad_()
    statistics = [batch_statistics(inputs) for inputs in norm_inputs(network.network, layers, images)]
    total = torch.stack(
        [mismatch(*found, layer.mean, layer.var) for found, layer in zip(statistics, layers, strict=True)]
    ).sum()
    (gradient,) = torch.autograd.grad(total, images)
    gaps = [
        (_squared(mean - layer.mean), _squared(var - layer.var))
        for (mean, var), layer in zip(statistics, layers, strict=True)
    ]
    return gaps, float(gradient.norm())


def _squared(gap: Float[Tensor, " channels"]) -> Float[np.ndarray, " channels"]:
    return gap.detach().cpu().double().square().numpy()


def _noise(network: Squeezed, seed: int) -> Float[Tensor, "images 3 side side"]:
    side = network.record.side
    randoms = (generator(seed, Stream.CANVAS, step=side, image=image) for image in range(_IMAGES))
    images = np.stack([random.standard_normal((3, side, side)) for random in randoms])
    return torch.from_numpy(images).to(network.network.head.weight)
